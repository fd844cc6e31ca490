#!/usr/bin/env bash
# Checks the model of the revocation protocol (revocation.pml): runs that must find nothing, negative controls that must fail,
# and behaviours that must be reached (the checker is told that they never are). model.md says what each is about. One line
# for each run, and one at the end.
#
#   check.sh [word]     only runs whose name contains the word
#   FULL=1 check.sh     the long ones too (each a few minutes and up to 2.5 GiB)
set -euo pipefail

model=$(cd "$(dirname "$0")" && pwd)/revocation.pml
only=${1:-}
for tool in spin gcc; do
	if ! command -v "$tool" > /dev/null; then
		echo "$tool is missing. The model checker Spin and a C compiler are needed: apt-get install spin gcc, or brew install spin" >&2
		exit 1
	fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
good=0
bad=0

# run NAME STYLE SPINFLAGS... leaves what the checker said in the file out. STYLE is deep (everything, depth first, the states
# compacted to hashes) or short (breadth first, which finds a shortest trace).
run() {
	local style=$2
	shift 2
	rm -f pan*
	: > out
	if [ "$style" = short ]; then
		spin -a -DSHORTEST "$@" "$model" > out 2>&1 && gcc -w -O2 -DSAFETY -DBFS -DHC4 -DMEMLIM=2500 -o pan pan.c >> out 2>&1 || return 0
		./pan -m200000 -w24 >> out 2>&1 || true
	else
		spin -a "$@" "$model" > out 2>&1 && gcc -w -O3 -DSAFETY -DHC4 -DMEMLIM=2500 -o pan pan.c >> out 2>&1 || return 0
		./pan -m200000 -w25 >> out 2>&1 || true
	fi
}

# report NAME VERDICT EXPECTED prints the line of a run.
report() {
	local states depth
	states=$(awk '/states, stored/ {print $1; exit}' out)
	depth=$(sed -n 's/.*depth reached \([0-9]*\), errors.*/\1/p' out)
	printf '%-58s %10s states, depth %5s, %4d s: ' "$1" "${states:--}" "${depth:--}" "$SECONDS"
	if [ "$2" = "$3" ]; then
		echo "$2, as expected"
		good=$((good + 1))
	else
		echo "$2, NOT AS EXPECTED ($3)"
		tail -n 20 out | sed 's/^/    /'
		bad=$((bad + 1))
	fi
}

# verdict says what a run has shown. Only a search of everything has found nothing.
verdict() {
	if grep -q 'assertion violated' out; then
		echo fails
	elif grep -q 'errors: 0' out && ! grep -Eq 'not completed|too small|MEMLIM|out of memory' out; then
		echo holds
	else
		echo 'no result'
	fi
}

wanted() { case $1 in *"$only"*) SECONDS=0 ;; *) return 1 ;; esac }

holds() { if wanted "$1"; then run "$1" deep "${@:2}"; report "$1" "$(verdict)" holds; fi; }
fails() { if wanted "$1"; then run "$1" short "${@:2}"; report "$1" "$(verdict)" fails; fi; }
reached() { if wanted "$1"; then run "$1" short "${@:2}"; report "$1" "$(verdict | sed s/fails/reached/)" reached; fi; }
long() { if [ "${FULL:-}" = 1 ]; then "$@"; fi; }

flush='-DNRID=1 -DGMAX=2'          # one Redis, one flush
restart='-DFLUSHES=0 -DGMAX=2'     # a restart, or a failover with a zombie
small='-DNRID=1 -DFLUSHES=0'       # withdrawals and rebuilds without either
one='-DREQ1=0'
cut='-DREQ0=CUTOFF'
cuts="$cut -DREQ1=CUTOFF"
background="$cut -DREQ1=BACKGROUND"

# shellcheck disable=SC2086 # the variables hold several flags
{
holds 'revocations, flush'                                 $flush
holds 'revocations, three generations'                     $small
holds 'revocations, restart or failover'                   $restart
holds 'revocation, late commands, pauses, no lock'         -DGMAX=2 $one -DLATE=1 -DPAUSE -DSPLITBEGIN -DNOLOCK -DANYGEN
holds 'revocation, old snapshot'                           $restart $one -DSNAP -DPAUSE
holds 'cut-off and its retry, flush'                       $flush $cuts -DSAME
holds 'cut-off and its retry, restart or failover'         $restart $cuts -DSAME
holds 'cut-off that a lease loop confirms'                 $restart $background
holds 'cut-off, rows and trust read apart'                 $flush $background -DSPLITREAD -DSPLITBEGIN
holds 'cut-off raised again'                               $flush $cuts -DRAISES
holds 'cut-off and revocation'                             $flush $cut
holds 'shared queries'                                     $small -DGMAX=2 $one -DCOALESCE
holds 'grace, no write to Redis fails'                     $small -DGMAX=2 -DGRACE=1 -DREDISOK

long holds 'revocations, flush, three generations'         -DNRID=1
long holds 'revocations, restart or failover, and flush'   -DGMAX=2
long holds 'revocation, restart, flush, three generations' $one
long holds 'revocations, flush, pauses, late commands'     $flush -DPAUSE -DLATE=1
long holds 'revocations, no lock, any generation'          $flush -DNOLOCK -DANYGEN -DSPLITBEGIN
long holds 'revocations, lease of two ticks and margin'    $flush -DL=2 -DMARGIN=1
long holds 'revocations, three replicas'                   $small -DGMAX=2 -DNREP=3
long holds 'revocation, three replicas, restart'           $restart $one -DNREP=3
long holds 'two cut-offs, flush'                           $flush $cuts
long holds 'two cut-offs, restart or failover'             $restart $cuts
long holds 'cut-off raised again, restart or failover'     $restart $cuts -DRAISES
long holds 'cut-off, lease loop, three generations'        $small $background
long holds 'cut-off, lease loop, late commands, pauses'    $flush $background -DPAUSE -DLATE=1
long holds 'cut-off, its retry and a lease loop'           $small -DGMAX=2 $cuts -DSAME -DREQ2=BACKGROUND
long holds 'cut-off and revocation, restart or failover'   $restart $cut
long holds 'shared queries, two revocations'               $small -DGMAX=2 -DCOALESCE
long holds 'grace, no write to Redis fails, flush'         $flush -DGRACE=1 -DREDISOK

fails 'marker without generation'                          $flush $one -DBAD_BAREMARKER
fails 'marker completed without XX'                        $flush $one -DBAD_NOXX
fails 'key emptied after the snapshot'                     $small -DGMAX=2 $one -DBAD_UNLINKLATE
fails 'client that repeats a command'                      $small -DGMAX=2 $one -DBAD_TWICE
fails 'no fence'                                           $small -DGMAX=2 $one -DBAD_NOFENCE
fails 'fence counted from before the commit'               $small -DGMAX=2 $one -DBAD_FENCEEARLY
fails 'lease dated after the read'                         $small -DGMAX=2 $one -DBAD_LATEDATE
fails 'clock that stands still'                            $small -DGMAX=2 $one -DENV_SUSPEND
fails 'identity of Redis not in the names'                 $restart $one -DSNAP -DBAD_NOID
fails 'identity not proven with each reply'                $restart $one -DSNAP -DBAD_NOPROOF
fails 'identity in a variable of the pool'                 $restart $one -DBAD_POOLWIDE
fails 'identity that survives a resynchronisation'         $restart $one -DSNAP -DENV_RESYNC
fails 'row and trust row in two transactions'              $restart $one -DBAD_NOSHARE
fails 'already revoked, so 200'                            $small -DGMAX=2 -DSAME -DBAD_RETRY
fails 'cut-off: retry that finds it done does not confirm' $small -DGMAX=2 $cuts -DSAME -DBAD_CUTRETRY
fails 'cut-off: retry looks before its change'             $small -DGMAX=2 $cuts -DSAME -DBAD_LOOKFIRST
fails 'cut-off: trust row read before the cut-off'         $restart $one $cut -DBAD_TRUSTFIRST
fails 'cut-off: marked before it is in Redis'              $small -DGMAX=2 $cuts -DSAME -DBAD_MARKFIRST
fails 'cut-off: mark ignores that it was raised'           $small -DGMAX=2 $cuts -DRAISES -DBAD_MARKRAISED
fails 'cut-off: written without LT'                        $small -DGMAX=2 $cuts -DRAISES -DBAD_NOLT
fails 'cut-off: in Redis before its commit'                $small -DGMAX=2 $one $cut -DBAD_MEMBERFIRST
fails 'cut-off: snapshot without unconfirmed ones'         $restart $one $cut -DBAD_SNAPCONFIRMED
fails 'shared queries: joining a running one'              $small -DGMAX=2 $one -DCOALESCE -DBAD_JOIN
fails 'shared round trips to Redis: joining a running one' $small -DGMAX=2 $one -DPAUSE -DBAD_JOINSET
fails 'grace and a withdrawal'                             $small -DGMAX=2 $one -DGRACE=1
fails 'grace and a zombie'                                 $restart $one -DGRACE=1 -DREDISOK

reached 'acknowledged through Redis'                       $small -DGMAX=2 $one -DSEE=1
reached 'acknowledged without a write_id'                  $small -DGMAX=2 $one -DSEE=2
reached 'a failed write goes to a newer set'              $small -DGMAX=2 $one -DSEE=6
reached 'active through Redis'                             $small -DGMAX=2 $one -DSEE=3
reached 'active through Redis, rebuilt'                    $small -DGMAX=2 $one -DSEE=4
reached 'active through Redis, rebuilt after a restart'    $restart $one -DSEE=5
reached 'confirmed by a lease loop'                        $small -DGMAX=2 $background -DSEE=7
reached 'a cut-off that others have confirmed'             $small -DGMAX=2 $cuts -DSAME -DSEE=8
reached 'a check that arrives during a query'              $small -DGMAX=2 $one -DCOALESCE -DSEE=9
}

echo "$good runs as expected, $bad not"
[ "$bad" = 0 ] && [ "$good" != 0 ]
