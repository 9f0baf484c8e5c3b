# A service that makes one call for each request, with WEBrick and Net::HTTP. No tracing in it.
require "net/http"
require "webrick"

backend = URI(ENV["BACKEND"])
quiet = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(
  BindAddress: "127.0.0.1", Port: ENV["PORT"].to_i, Logger: quiet, AccessLog: []
)
server.mount_proc("/") { |_, response| response.body = Net::HTTP.get(backend) }
trap("TERM") { server.shutdown }
server.start
