#!/bin/sh
# Runs a Redis server that must not outlive its owner: $1 is the server, $2 its configuration. The owner holds the other end of stdin.
# A line there ends the server now; a closed stdin means that the owner was killed, and leaves the services a moment to end first.
# Redis writes what it has to the append-only file when it gets SIGTERM. With a disk that is full or a folder that is gone it can't, and would stay:
# then it is killed. The exit status is the server's.
exec 3<&0
"$1" "$2" 3<&- </dev/null &
server=$!
{
  IFS= read -r _ <&3 || sleep 3
  kill -TERM "$server" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8; do sleep 1; done
  kill -KILL "$server" 2>/dev/null
} &
watcher=$!
exec 3<&-
wait "$server"
status=$?
# With its sleep, if that goes on; it may be gone already.
kill "$watcher" 2>/dev/null
exit "$status"
