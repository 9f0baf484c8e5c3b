#!/bin/sh
# Caddy as a proxy: a request for /r/N goes to the backend as /c/N/0. The first argument is the folder where it is installed.
set -e
own=$(mktemp -d)
cat > "$own/Caddyfile" <<END
{
	admin off
	auto_https off
	persist_config off
	log {
		level ERROR
	}
}
http://:$PORT {
	bind 127.0.0.1
	rewrite * /c/{http.request.uri.path.1}/0
	reverse_proxy $BACKEND
}
END
XDG_DATA_HOME=$own XDG_CONFIG_HOME=$own exec "$1/bin/caddy" run --adapter caddyfile --config "$own/Caddyfile"
