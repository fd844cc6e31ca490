# sh -c THIS NAME DIR SIGNAL [MUTEX USERS STATE LINGER]
# Waits until nobody needs the server in DIR, stops it and deletes DIR.
# Private home: the test process holds the other end of standard input.
# Shared home: each test process holds a shared lock on USERS; joining and tearing down happen under MUTEX.
dir=$1 signal=$2 mutex=${3-} users=${4-} state=${5-} linger=${6-}

# ours: is it running, and in DIR? (The number could belong to another process by now.)
ours() {
	kill -0 "$1" 2>/dev/null || return 1
	[ -d /proc/self ] || return 0
	case $(readlink "/proc/$1/cwd") in "$dir"*) return 0 ;; esac
	return 1
}

teardown() {
	pid=$(cat "$dir/pid" 2>/dev/null)
	if [ -n "$pid" ] && ours "$pid"; then
		children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
		kill "-$signal" "$pid"
		# A frozen server takes no signal but SIGKILL.
		for one in $children $pid; do kill -CONT "$one"; done 2>/dev/null
		tries=0
		while ours "$pid" && [ $tries -lt 100 ]; do
			sleep 0.05
			tries=$((tries + 1))
		done
		kill -KILL "$pid" 2>/dev/null
	fi
	rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
}

if [ -z "$mutex" ]; then
	cat >/dev/null
	teardown
	exit
fi
exec 8<>"$mutex" 9<>"$users"
while :; do
	flock -x 9
	flock -u 9
	sleep "$linger" # the next package of the same run may come
	flock -x 8
	flock -xn 9 && break
	flock -u 8
done
grep -qF "$dir" "$state" 2>/dev/null && rm -f "$state"
teardown
