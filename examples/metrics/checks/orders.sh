#!/bin/sh
# Prints which part of the visits to a release ended with an order in the last ten minutes; nothing when nobody came.
set -eu
release=$1
psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --set=release="$release" <<'SQL'
select avg(ordered::int) from visits where release = :release and ended > now() - interval '10 minutes'
SQL
