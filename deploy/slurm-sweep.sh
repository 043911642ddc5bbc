#!/bin/sh
# A sweep of a scenario over 200 seeds, as an array of 20 tasks with one shard each.
#
#   sbatch slurm-sweep.sh                         # from a directory that all machines share
#   m2mesh-sim merge results/shard-* --out results/all      # when all are done
#
# A task that is requeued goes on with what its shard lacks. To make one again: sbatch --array=7 slurm-sweep.sh
#SBATCH --job-name=m2mesh-sweep
#SBATCH --array=1-20
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=sweep-%A-%a.log

# As many as the array above has; not counted by Slurm, so that a part of the array stays a part of the same sweep.
shards=20

m2mesh-sim sweep scale-ladder --seeds 1..200 --set devices.node.count=1000 \
    --jobs "$SLURM_CPUS_PER_TASK" --shard "$SLURM_ARRAY_TASK_ID/$shards" \
    --out "results/shard-$SLURM_ARRAY_TASK_ID"
code=$?
# A run that misses an expectation is a result, not a failure of the task.
[ "$code" -eq 2 ] || exit "$code"
