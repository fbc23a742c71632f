# shellcheck shell=sh
# Says of each instance that is named whether it runs, as systemd has it: NAME STATE EXIT_CODE RESTARTS
for name; do
  unit=deployer-$name.service
  said=$(systemctl show --property=LoadState,ActiveState,SubState,ExecMainStatus,NRestarts "$unit") || exit
  LoadState='' ActiveState='' SubState='' ExecMainStatus='' NRestarts=''
  while IFS='=' read -r key value; do
    case $key in
      LoadState) LoadState=$value ;;
      ActiveState) ActiveState=$value ;;
      SubState) SubState=$value ;;
      ExecMainStatus) ExecMainStatus=$value ;;
      NRestarts) NRestarts=$value ;;
    esac
  done <<END
$said
END
  [ "$LoadState" != not-found ] || continue
  case $ActiveState/$SubState in
    active/* | deactivating/* | reloading/*) state=running ;;
    activating/auto-restart*) state=exited ;;
    activating/*) state=created ;;
    *) state=exited ;;
  esac
  if [ "$state" != exited ]; then # a new process has begun: what the one before ended with stands in the journal
    ExecMainStatus=$(journalctl --quiet --lines=1 --output=cat --output-fields=EXIT_STATUS \
      MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15 "UNIT=$unit" 2>/dev/null)
  fi
  [ "$state" != running ] || [ ! -e "/run/deployer/$name.paused" ] || state=paused
  echo "$name $state ${ExecMainStatus:--} $NRestarts"
done
