#!/bin/sh
# Write the running tasks of an environment for Prometheus' file_sd, once: ecs-targets.sh ENV FOLDER
#
# Run it every half a minute beside Prometheus, with ecs:ListTasks and ecs:DescribeTasks. When AWS does not answer, the
# last files stay: Prometheus goes on with the tasks that it knows.
set -eu

environment=$1
folder=$2

write_targets() {    # write_targets SERVICE PORT
  file=$folder/media-$1.json
  tasks=$(aws ecs list-tasks --cluster "$environment-media" --service-name "$1" --query 'taskArns[:100]' --output text)
  case $tasks in
    '' | None) echo '[]' > "$file.new" ;;
    *)
      # shellcheck disable=SC2086 # each task is an argument
      aws ecs describe-tasks --cluster "$environment-media" --tasks $tasks --output json \
        --query "tasks[?lastStatus=='RUNNING'].{
          targets: [join(':', [containers[].networkInterfaces[].privateIpv4Address | [0], '$2'])],
          labels: {job: 'media-$1', environment: '$environment'}}" > "$file.new"
      ;;
  esac
  mv "$file.new" "$file"    # Prometheus never reads half a file
}

write_targets consumer 8006
write_targets api 8005
