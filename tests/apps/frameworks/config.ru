require_relative 'service'

run lambda { |request|
  WORK.call(request['PATH_INFO'].split('/').last)
  [200, { 'content-type' => 'text/plain' }, ["ok\n"]]
}
