#!/bin/sh
# A Slurm of one node, this machine, to try `deeplora compare --executor slurm` on and for the tests of it. For
# Debian and Ubuntu, as root; needs no systemd. Nothing outside DIR is written but by the packages: configuration,
# munge key, state and logs lie there, and a Slurm or munge of the machine's own is left alone.
#
#	eval "$(scripts/slurm_one_node.sh start DIR)"	# installs what is missing, starts; sets SLURM_CONF
#	sinfo; sbatch ...; DEEPLORA_SLURM=1 go test ./cmd/deeplora/internal/study/
#	scripts/slurm_one_node.sh stop DIR		# cancels its jobs, ends its daemons
#
# Both may be repeated. Exit code 3: it cannot be done on this machine, and why.
set -eu

usage() {
	echo "usage: $0 start|stop DIR" >&2
	exit 2
}
cannot() {
	echo "slurm_one_node: $*" >&2
	exit 3
}
fail() {
	echo "slurm_one_node: $*" >&2
	exit 1
}
say() { echo "slurm_one_node: $*" >&2; }

partition=local

# ours PROGRAM prints the process of DIR's daemon; false where it does not run.
ours() {
	[ -s "$dir/$1.pid" ] || return 1
	read -r process <"$dir/$1.pid" || [ -n "$process" ] || return 1
	case $(cat "/proc/$process/comm" 2>/dev/null) in
	"$1"*) echo "$process" ;;
	*) return 1 ;;
	esac
}

# strangers PROGRAM prints the processes of a Slurm daemon that was not started with DIR's configuration.
strangers() {
	for comm in /proc/[0-9]*/comm; do
		process=${comm#/proc/}
		process=${process%/comm}
		case $(cat "$comm" 2>/dev/null) in
		"$1" | "$1-wlm") ;; # as Debian calls it
		*) continue ;;
		esac
		case $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null) in
		"" | *" -f $dir/slurm.conf "*) ;; # ended, not yet waited for; ours
		*) echo "$process" ;;
		esac
	done
}

install_packages() {
	missing=
	for pair in slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge; do
		command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
	done
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null || cannot "missing:$missing; without apt-get install them by hand"
	say "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of words
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$dir/apt.log" 2>&1 ||
		cannot "apt-get could not install$missing (is there a network?); see $dir/apt.log"
}

configure() {
	host=$(hostname -s)
	mkdir -p "$dir/state" "$dir/spool"
	if [ ! -s "$dir/munge.key" ]; then
		(umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
	fi
	cat >"$dir/slurm.conf" <<CONF
# Written by $0.
ClusterName=$partition
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=30
KillWait=10
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=$partition Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

# launch PROGRAM ARGUMENTS... starts a daemon of DIR, which puts itself into the background.
launch() {
	ours "$1" >/dev/null && return 0
	rm -f "$dir/$1.pid"
	"$@" >>"$dir/$1.out" 2>&1 || fail "$1 does not start: $(tail -n 1 "$dir/$1.out"); see $dir/$1.log"
}

# await TEXT COMMAND... waits half a minute for a command to succeed.
await() {
	text=$1
	shift
	for _ in $(seq 60); do
		"$@" && return 0
		sleep 0.5
	done
	fail "$text; see the logs in $dir"
}

node_is_up() {
	case $(sinfo --noheader --format=%T 2>/dev/null) in
	idle | mixed | allocated | completing) return 0 ;;
	down* | drain*) scontrol update "nodename=$(hostname -s)" state=resume 2>/dev/null || true ;;
	esac
	return 1
}

start() {
	[ "$(id -u)" = 0 ] || cannot "installing and running Slurm's daemons needs root"
	[ -d /proc/1 ] || cannot "this is not Linux"
	[ ${#dir} -le 80 ] || cannot "$dir: too long a path for a socket; choose a shorter one"
	case $dir in *[!A-Za-z0-9/._-]*) cannot "$dir: slurm.conf takes no such path; use letters, digits, / . _ -" ;; esac
	for daemon in slurmctld slurmd; do
		others=$(strangers "$daemon")
		[ -z "$others" ] || cannot "another $daemon runs here (process $(echo $others)); use that Slurm, or end it first"
	done
	install_packages
	ours slurmctld >/dev/null || configure
	# A socket of its own, as root: the machine's munge, if any, has another key. --force: DIR may lie in /tmp.
	launch munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
		--log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
	await "munged does not answer" test -S "$dir/munge.socket"
	launch slurmctld -f "$dir/slurm.conf"
	launch slurmd -f "$dir/slurm.conf"
	await "the node does not come up" node_is_up
	say "Slurm runs: partition $partition, node $(hostname -s), $(nproc) cores"
	echo "export SLURM_CONF='$dir/slurm.conf' # partition $partition"
}

# end PROGRAM ends a daemon of DIR and waits for it.
end() {
	process=$(ours "$1") || return 0
	kill "$process"
	await "$1 (process $process) does not end" gone "$process"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
queue_is_empty() { [ -z "$(squeue --noheader 2>/dev/null)" ]; }

stop() {
	if ours slurmctld >/dev/null && ours slurmd >/dev/null; then
		squeue --noheader --format=%F 2>/dev/null | sort -u | xargs -r scancel 2>/dev/null || true
		await "jobs do not end" queue_is_empty
	fi
	for daemon in slurmd slurmctld munged; do
		end "$daemon"
	done
	say "stopped; $dir may be removed"
}

[ $# -eq 2 ] || usage
case $1 in start | stop) ;; *) usage ;; esac
case $2 in -*) usage ;; esac
mkdir -p "$2" || cannot "$2 cannot be made"
dir=$(cd "$2" && pwd)
export SLURM_CONF="$dir/slurm.conf"
"$1"
