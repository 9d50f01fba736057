#!/usr/bin/env bash
# A run under Slurm that is put back into the queue before its time is over, and resumes there.
#
#   sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 scripts/slurm.sh --config llama2-7b.toml --output runs/first
#   sbatch --array=1-5 --gpus-per-node=1 scripts/slurm.sh --config llama2-7b.toml --output runs/seeds
#
# The words after the script are those of `train`. In an array each task is a run with the task's number as its seed, in seed-N under the
# folder of `--output`, which must come last; `mvpbench report runs/seeds/seed-*` compares them. TRAIN: the program, if it is not on the path.
#SBATCH --job-name=train
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
#SBATCH --ntasks-per-node=1
set -uo pipefail
train=("${TRAIN:-train}" "$@")
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  [ $# -ge 2 ] && [ "${*: -2:1}" = --output ] || {
    echo "slurm.sh: in an array, \`--output DIR\` must come last" >&2
    exit 2
  }
  train=("${TRAIN:-train}" "${@:1:$#-2}" --set "train.seed=$SLURM_ARRAY_TASK_ID" --output "${*: -1}/seed-$SLURM_ARRAY_TASK_ID")
fi
# Slurm signals this script three minutes before the end of the time, which has the ranks save and end with 143. So do those that are
# ended because another was killed: without the signal, such a job is not put back, or it would come back for ever. To one rank USR1 is no request.
signalled='' again=''
trap 'signalled=1 again=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
srun --mpi=pmix --kill-on-bad-exit=1 "${train[@]}" &
step=$!
while wait "$step"; status=$?; [ -n "$again" ]; do again=''; done
if [ -n "$signalled" ] && [ "$status" -eq 143 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
fi
exit "$status"
