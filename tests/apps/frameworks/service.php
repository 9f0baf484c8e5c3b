<?php
// A service of PHP's own server. A request for /r/N makes calls to /c/N/0, /c/N/1 and so on at the backend, in the way
// that the variable WAY names.
$number = basename($_SERVER['REQUEST_URI']);
foreach (range(0, getenv('WAY') === 'one' ? 0 : 1) as $k) {
    file_get_contents('http://' . getenv('BACKEND') . "/c/$number/$k");
}
echo "ok\n";
