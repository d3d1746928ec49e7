# One private PostgreSQL that lives as long as this script's standard input stays open: the test process holds the other
# end, so however that process ends (also by SIGKILL, and without running destructors) the server stops and DIR goes.
# usage: postgres.sh BIN DIR PORT; prints "ready" when it accepts connections.
bin=$1 dir=$2 port=$3
as=""
if [ "$(id -u)" = 0 ]; then
    chown postgres "$dir"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd "$dir" || exit 1
if ! $as "$bin/initdb" -D "$dir/data" -U postgres -A trust --no-sync --locale=C.UTF-8 -E UTF8 >"$dir/initdb.log" 2>&1; then
    cat "$dir/initdb.log" >&2
    exit 1
fi
$as "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c max_connections=300 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off -c shared_buffers=64MB \
    >"$dir/postgres.log" 2>&1 </dev/null &
pid=$!
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
    if ! kill -0 "$pid" 2>/dev/null; then
        cat "$dir/postgres.log" >&2
        exit 1
    fi
    sleep 0.05
done
trap "" PIPE # nobody may be left to hear it
echo ready
while read -r _; do :; done
kill -INT "$pid"
wait "$pid"
cd / && rm -rf "$dir"
