#!/bin/sh
# Flask that leaves the work of a request to Celery's workers, and waits for it, with Redis between them.
set -e
own=$(mktemp -d)
redis-server --port 0 --unixsocket "$own/redis" --save '' --dir "$own" --loglevel warning > "$own/log" &
export REDIS="redis+socket://$own/redis"
/usr/bin/python3 -m celery --app service:worker worker --concurrency 8 --loglevel CRITICAL > "$own/worker" 2>&1 &
exec /usr/bin/python3 -m gunicorn --bind "127.0.0.1:$PORT" --threads 16 'service:flask_celery()'
