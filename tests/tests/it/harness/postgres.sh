# One private PostgreSQL that lives as long as this script's standard input stays open: the test process holds the other
# end, so however that process ends (also by SIGKILL, and without running destructors) the server stops and DIR goes.
# usage: postgres.sh BIN DIR PORT COMMITS; COMMITS is `on` where a commit has to outlive a crash, else `off`. Answers each
# line of its input: "start" when the server accepts connections, "crash" when it has ended without a word.
bin=$1 dir=$2 port=$3 commits=$4
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
pid=""

start() {
    $as "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c max_connections=300 \
        -c fsync=off -c synchronous_commit="$commits" -c full_page_writes=off -c autovacuum=off -c shared_buffers=64MB \
        >>"$dir/postgres.log" 2>&1 </dev/null &
    pid=$!
    until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$dir/postgres.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

# QUIT: every process of it ends at once, nothing is written, no client is told. INT: clients are cut off, all is written.
end() {
    [ -z "$pid" ] || kill -s "$1" "$pid"
    [ -z "$pid" ] || wait "$pid"
    pid=""
} 2>/dev/null

trap "" PIPE # nobody may be left to hear it
while read -r verb; do
    case $verb in
    start) start ;;
    crash) end QUIT ;;
    esac
    echo "$verb"
done
end INT
cd / && rm -rf "$dir"
