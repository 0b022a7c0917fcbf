#!/bin/sh
# sbatch --export=ALL,PLAN=/nfs/plans/nov slurm.sh
#SBATCH --job-name=companies
#SBATCH --array=0-31
#SBATCH --cpus-per-task=2
#SBATCH --requeue

drawoff work "$PLAN" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
code=$?
case $code in
# A retry helps: docs/exit-codes.md.
14 | 15 | 16 | 23 | 24 | 33 | 35 | 36 | 130)
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 6 ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    fi
    ;;
esac
exit "$code"
