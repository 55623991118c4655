// usage: graphile_worker.mjs install | fill N | work
import { run, runMigrations } from 'graphile-worker'
import pg from 'pg'

const [command, number] = process.argv.slice(2)
// The database is named by PGHOST and its like.
const pgPool = new pg.Pool({ max: 24 })
if (command === 'install') {
  await runMigrations({ pgPool })
} else if (command === 'fill') {
  await pgPool.query(
    `SELECT graphile_worker.add_jobs(array_agg(json_populate_record(NULL::graphile_worker.job_spec,
       json_build_object('identifier', 'noop', 'payload', json_build_object('n', n))))) FROM generate_series(1, $1) n`,
    [Number(number)]
  )
} else {
  // As its documentation has it for many short jobs.
  const worker = { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
  const runner = await run({ pgPool, preset: { worker }, taskList: { noop: async () => {} } })
  await runner.promise
}
await pgPool.end()
