"""`make bench`: every bench in turn, each a ratio against a baseline of the same run."""

from tests.bench import (
    bench_broker,
    bench_matching,
    bench_mirror,
    bench_names,
    bench_posting,
    bench_queue,
    bench_service,
)

for bench in (bench_names, bench_matching, bench_broker, bench_service, bench_posting, bench_mirror, bench_queue):
    bench.main()
