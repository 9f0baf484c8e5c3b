// Fetches its arguments, one after the other.
(async () => {
  for (const url of process.argv.slice(2)) {
    const response = await fetch(url);
    const body = await response.text();
    console.log(response.status, body.length, url);
  }
})();
