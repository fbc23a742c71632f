#!/bin/sh
# Any other pipeline, and cron: deploy what the manifest says and tell how it went. What an earlier job left unfinished is
# taken back first. Usage: deploy.sh [OPTIONS OF deploy up]; it exits with what deploy exits with.
set -u
report=${REPORT:-deploy-report}

code=0
deploy up --replace --report "$report" --output plain "$@" || code=$?

# DEPLOYER_OUTCOME, DEPLOYER_ROLLOUT, DEPLOYER_SHARE and others, for what comes after.
# shellcheck source=/dev/null
. "$report/outputs.env"
echo "outcome: $DEPLOYER_OUTCOME${DEPLOYER_ROLLOUT:+, rollout $DEPLOYER_ROLLOUT}"
exit "$code"
