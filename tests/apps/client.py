"""Gets its arguments, one after the other, over one session."""

import sys

import requests

session = requests.Session()
for url in sys.argv[1:]:
    answer = session.get(url, timeout=10)
    print(answer.status_code, len(answer.content), url)
