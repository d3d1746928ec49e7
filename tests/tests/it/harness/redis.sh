# One private Redis that lives as long as this script's standard input stays open: the test process holds the other end, so
# however that process ends (also by SIGKILL, and without running destructors) Redis stops and DIR goes.
# usage: redis.sh DIR PORT. Answers each line of its input when that is done: "start" (and accepts connections), "kill"
# (without warning), "pause" (it hangs), "resume".
dir=$1 port=$2
cd "$dir" || exit 1
redis=""

start() {
    redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no </dev/null >redis.log 2>&1 &
    redis=$!
    until [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ]; do
        if ! kill -0 "$redis" 2>/dev/null; then
            cat redis.log >&2
            exit 1
        fi
        sleep 0.05
    done
}

stop() {
    [ -z "$redis" ] || kill -KILL "$redis"
    [ -z "$redis" ] || wait "$redis"
    redis=""
} 2>/dev/null

trap "" PIPE # nobody may be left to hear it
while read -r verb; do
    case $verb in
    start) start ;;
    kill) stop ;;
    pause) kill -STOP "$redis" ;;
    resume) kill -CONT "$redis" ;;
    esac
    echo "$verb"
done
stop
cd / && rm -rf "$dir"
