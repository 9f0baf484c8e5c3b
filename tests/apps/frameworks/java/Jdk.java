package service;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** The JDK's own server: Jdk platform|virtual, with its old client. */
final class Jdk {
    private Jdk() {}

    static ExecutorService threads(String kind) {
        if (!kind.equals("virtual")) {
            return Executors.newFixedThreadPool(32);
        }
        try {
            // By its name, since older versions lack it.
            return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server =
            HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), Calls.PORT), 1024);
        server.setExecutor(threads(arguments[0]));
        server.createContext("/r/", exchange -> {
            String path = exchange.getRequestURI().getPath();
            String number = path.substring(path.lastIndexOf('/') + 1);
            if (!Calls.WAY.equals("after")) {
                Calls.work(k -> Calls.byConnection(number, k));
            }
            exchange.sendResponseHeaders(200, 3);
            exchange.getResponseBody().write("ok\n".getBytes());
            exchange.close();
            if (Calls.WAY.equals("after")) {
                Calls.work(k -> Calls.byConnection(number, k));
            }
        });
        server.start();
    }
}
