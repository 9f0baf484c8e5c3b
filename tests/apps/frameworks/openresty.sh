#!/bin/sh
# nginx with OpenResty's Lua module. A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the backend, in the way
# that the variable WAY names: as subrequests, or by sockets of Lua's own.
set -e
own=$(mktemp -d)
cat > "$own/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
worker_processes 2;
pid $own/pid;
error_log stderr error;
env WAY;
env BACKEND;
events {}
http {
    access_log off;
    client_body_temp_path $own/body;
    proxy_temp_path $own/proxy;
    fastcgi_temp_path $own/fastcgi;
    uwsgi_temp_path $own/uwsgi;
    scgi_temp_path $own/scgi;
    upstream backend {
        server $BACKEND;
        keepalive 32;
    }
    server {
        listen 127.0.0.1:$PORT;
        location /c/ {
            internal;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://backend;
        }
        location /r/ {
            content_by_lua_block {
                local number = ngx.var.uri:match("[^/]+\$")
                local host, port = os.getenv("BACKEND"):match("(.+):(%d+)")
                local function path(k) return "/c/" .. number .. "/" .. k end
                local function by_socket(k)
                    local socket = ngx.socket.tcp()
                    assert(socket:connect(host, tonumber(port)))
                    assert(socket:send("GET " .. path(k) .. " HTTP/1.1\r\nHost: backend\r\n\r\n"))
                    local length = 0
                    repeat
                        local line = assert(socket:receive("*l"))
                        length = tonumber(line:lower():match("^content%-length: (%d+)")) or length
                    until line == ""
                    if length > 0 then assert(socket:receive(length)) end
                    socket:setkeepalive(10000, 32)
                end
                local ways = {
                    one = function() ngx.location.capture(path(0)) end,
                    sequence = function() for k = 0, 1 do ngx.location.capture(path(k)) end end,
                    parallel = function()
                        ngx.location.capture_multi({ { path(0) }, { path(1) }, { path(2) }, { path(3) } })
                    end,
                    ["sequence, sockets"] = function() for k = 0, 1 do by_socket(k) end end,
                    ["parallel, sockets"] = function()
                        local threads = {}
                        for k = 0, 3 do threads[k + 1] = ngx.thread.spawn(by_socket, k) end
                        for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
                    end,
                }
                ways[os.getenv("WAY")]()
                ngx.say("ok")
            }
        }
    }
}
END
exec nginx -p "$own" -c "$own/nginx.conf"
