#!/bin/sh
# sh parallel.sh PLAN OUT: eight parts of the plan, four at a time on this machine; with --sshlogin on others.
set -e
seq 0 7 | parallel --jobs 4 --retries 3 --halt soon,fail=1 drawoff work "$1" --shard '{}/8'
drawoff commit "$1" -o "$2"
