#!/bin/sh
# Run once by the image's own entry point, as the superuser: the role that the services connect as, whom row-level
# security binds; its database; and Temporal's own role.
set -eu
: "${TEMPORAL_PASSWORD:?}"
SERVICES_PASSWORD="${SERVICES_PASSWORD:-$(cat "$SERVICES_PASSWORD_FILE")}"
export SERVICES_PASSWORD TEMPORAL_PASSWORD
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
\getenv services_password SERVICES_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD
CREATE ROLE gonghai_services LOGIN PASSWORD :'services_password' NOSUPERUSER NOBYPASSRLS;
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'temporal_password' NOSUPERUSER;
CREATE DATABASE gonghai OWNER gonghai_services;
-- For move-tenant: what arrives in a database was judged by the triggers where it was made.
GRANT SET ON PARAMETER session_replication_role TO gonghai_services;
\connect gonghai
CREATE EXTENSION IF NOT EXISTS pg_trgm;
-- Only a superuser may promise that these tell nothing of what they compare; behind row-level security PostgreSQL uses
-- no index for them without the promise. The same list as LEAKPROOF in deploy/local/stores.py; a test compares them.
DO $$
DECLARE signature text;
BEGIN
    FOR signature IN
        SELECT oid::regprocedure::text FROM pg_proc WHERE proname IN (
            'textlike', 'texticlike', 'textregexeq', 'texticregexeq', 'starts_with',
            'arrayoverlap', 'arraycontains', 'arraycontained', 'jsonb_contains', 'ts_match_vq',
            'similarity_op', 'word_similarity_op', 'word_similarity_commutator_op',
            'strict_word_similarity_op', 'strict_word_similarity_commutator_op'
        )
    LOOP
        EXECUTE format('ALTER FUNCTION %s LEAKPROOF', signature);
    END LOOP;
END $$;
SQL
