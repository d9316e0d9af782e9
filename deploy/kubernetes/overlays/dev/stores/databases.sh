#!/bin/bash
# A database for each service, and a role that owns it and nothing else.
set -euo pipefail
for service in users catalog orders inventory storage mailer reports webhooks; do
  psql -v ON_ERROR_STOP=1 -U postgres -v name="shop_$service" -v password="$SERVICE_PASSWORD" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
