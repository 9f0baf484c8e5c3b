import com.sun.net.httpserver.HttpServer;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/**
 * A service that makes a call for each request, as many as its path says behind a slash, by HttpClient or
 * HttpURLConnection. No tracing in it.
 */
class Service {
    public static void main(String[] arguments) throws Exception {
        var backend = URI.create(System.getenv("BACKEND"));
        var client = HttpClient.newHttpClient();
        var server = HttpServer.create(
            new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
        server.createContext("/", exchange -> {
            var parts = exchange.getRequestURI().getPath().split("/");
            try {
                for (int n = parts.length > 2 ? Integer.parseInt(parts[2]) : 1; n > 0; n--) {
                    if (arguments[0].equals("client")) {
                        client.send(
                            HttpRequest.newBuilder(backend).build(), HttpResponse.BodyHandlers.discarding());
                    } else {
                        var connection = (HttpURLConnection) backend.toURL().openConnection();
                        connection.getInputStream().readAllBytes();
                    }
                }
                exchange.sendResponseHeaders(204, -1);
            } catch (InterruptedException error) {
                throw new RuntimeException(error);
            }
            exchange.close();
        });
        server.start();
    }
}
