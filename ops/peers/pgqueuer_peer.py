"""usage: pgqueuer_peer.py install | fill N | work. The database is named by PGHOST and its like."""

import logging
import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

BATCH = 500


async def main(command: str, number: int) -> None:
    driver = AsyncpgDriver(await asyncpg.connect())
    if command == "install":
        await Queries(driver).install()
    elif command == "fill":
        await Queries(driver).enqueue(["noop"] * number, [b'{"n": %d}' % n for n in range(number)], [0] * number)
    else:
        queuer = PgQueuer(driver)

        @queuer.entrypoint("noop")
        async def noop(_: Job) -> None:
            pass

        await queuer.run(batch_size=BATCH)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    uvloop.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
