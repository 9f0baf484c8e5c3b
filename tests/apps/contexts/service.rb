# A service that makes a call for each request, as many as its path says behind a slash, with WEBrick and Net::HTTP. No tracing in it.
require "net/http"
require "webrick"

backend = URI(ENV["BACKEND"])
quiet = WEBrick::Log.new(File::NULL)
server = WEBrick::HTTPServer.new(
  BindAddress: "127.0.0.1", Port: ENV["PORT"].to_i, Logger: quiet, AccessLog: []
)
server.mount_proc("/") do |request, response|
  (request.path.split("/")[2] || 1).to_i.times { response.body = Net::HTTP.get(backend) }
end
trap("TERM") { server.shutdown }
server.start
