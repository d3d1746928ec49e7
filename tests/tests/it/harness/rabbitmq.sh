# One private RabbitMQ that lives as long as this script's standard input stays open: the test process holds the other
# end, so however that process ends (also by SIGKILL, and without running destructors) the broker stops and DIR goes.
# usage: rabbitmq.sh DIR PORT DISTRIBUTION_PORT EPMD_PORT; DIR holds rabbitmq.conf. Answers each line of its input:
# "start" when the broker accepts connections, "kill" when it was killed without warning.
dir=$1 port=$2 distribution=$3 epmd=$4
as=""
if [ "$(id -u)" = 0 ]; then
    chown -R rabbitmq "$dir"
    as="setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups"
fi
cd "$dir" || exit 1
echo "[]." >enabled_plugins
# The broker's Erlang shell reads from here: an expression takes milliseconds, rabbitmqctl takes a second.
mkfifo shell
exec 3<>shell
export HOME="$dir" ERL_EPMD_PORT="$epmd" ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_ALLOW_INPUT=1
export RABBITMQ_NODENAME="kettle-$port@localhost" RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$distribution"
export RABBITMQ_CONF_ENV_FILE="$dir/none" RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf"
export RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins"
export RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"

$as epmd -port "$epmd" -address 127.0.0.1 </dev/null >epmd.log 2>&1 &
names=$!
broker=""

start() {
    rm -f broker.log # that of a broker before
    $as /usr/lib/rabbitmq/bin/rabbitmq-server <&3 >broker.log 2>&1 &
    broker=$!
    until grep -q "completed with" broker.log; do
        if ! kill -0 "$broker" 2>/dev/null; then
            cat broker.log >&2
            exit 1
        fi
        sleep 0.05
    done
}

stop() {
    [ -z "$broker" ] || kill -KILL "$broker"
    [ -z "$broker" ] || wait "$broker"
    broker=""
} 2>/dev/null

trap "" PIPE # nobody may be left to hear it
while read -r verb; do
    case $verb in
    start) start ;;
    kill) stop ;;
    esac
    echo "$verb"
done
stop
kill "$names"
cd / && rm -rf "$dir"
