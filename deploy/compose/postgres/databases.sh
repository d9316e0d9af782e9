#!/bin/bash
# A database for each service, and a role that owns this one and may not even connect to another.
set -euo pipefail
while read -r service password; do
  psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -v service="$service" -v password="$password" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done </run/secrets/roles
# The superuser is for this container's own socket; over the network it cannot sign in.
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -c "ALTER ROLE \"$POSTGRES_USER\" PASSWORD NULL"
