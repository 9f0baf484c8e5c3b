# Services in Ruby: `puma` loads this as config.ru, `ruby service.rb` runs WEBrick. A request for /r/N makes calls to
# /c/N/0, /c/N/1 and so on at the backend, in the way that the variable WAY names.
require 'net/http'

BACKEND = "http://#{ENV.fetch('BACKEND')}"

def call(number, k)
  Net::HTTP.get(URI("#{BACKEND}/c/#{number}/#{k}"))
end

WORK = {
  'one' => ->(number) { call(number, 0) },
  'sequence' => ->(number) { 2.times { |k| call(number, k) } },
  'parallel' => ->(number) { 4.times.map { |k| Thread.new { call(number, k) } }.each(&:join) }
}.fetch(ENV.fetch('WAY'))

if $PROGRAM_NAME == __FILE__
  require 'webrick'
  server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: ENV.fetch('PORT').to_i, AccessLog: [])
  server.mount_proc('/r/') do |request, response|
    WORK.call(request.path.split('/').last)
    response.body = "ok\n"
  end
  server.start
end
