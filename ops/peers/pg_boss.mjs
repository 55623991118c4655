// usage: pg_boss.mjs install | fill N | work
import { PgBoss } from 'pg-boss'

const [command, number] = process.argv.slice(2)
// The database is named by PGHOST and its like.
const boss = new PgBoss({ schedule: false, supervise: false })
boss.on('error', console.error)
await boss.start()
if (command === 'install') {
  await boss.createQueue('noop')
} else if (command === 'fill') {
  await boss.insert('noop', Array.from({ length: Number(number) }, (_, n) => ({ data: { n } })))
} else {
  // One call of the handler for a thousand jobs, and the next thousand at once.
  await boss.work('noop', { batchSize: 1000, burstWhenBatchFull: true, localConcurrency: 2 }, async () => {})
}
if (command !== 'work') await boss.stop({ graceful: false })
