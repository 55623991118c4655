"""usage: procrastinate_peer.py install | fill N | work. The database is named by PGHOST and its like."""

import asyncio
import sys

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector())


@app.task(queue="default")
async def noop(n: int) -> None:
    pass


async def main(command: str, number: int) -> None:
    async with app.open_async():
        if command == "install":
            await app.schema_manager.apply_schema_async()
        elif command == "fill":
            await noop.batch_defer_async(*({"n": n} for n in range(number)))
        else:
            await app.run_worker_async(concurrency=30)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
