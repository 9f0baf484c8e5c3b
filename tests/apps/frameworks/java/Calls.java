package service;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.IntConsumer;

/** The calls of a request for /r/N: to /c/N/0, /c/N/1 and so on, in the way that the variable WAY names. */
final class Calls {
    static final String WAY = System.getenv("WAY");
    static final int PORT = Integer.parseInt(System.getenv("PORT"));
    private static final ExecutorService POOL =
        WAY.equals("children") ? Jdk.threads("virtual") : Executors.newFixedThreadPool(16);

    private static final byte[][] KEPT = new byte[16][];

    private Calls() {}

    static String address(String number, int k) {
        return "http://" + System.getenv("BACKEND") + "/c/" + number + "/" + k;
    }

    /** How many calls a request makes. */
    static int count() {
        return WAY.equals("one") || WAY.equals("after") ? 1 : WAY.equals("sequence") || WAY.equals("garbage") ? 2 : 4;
    }

    /** Makes the calls by this function: in turn, by threads of a pool, or each by a virtual thread of its own. */
    static void work(IntConsumer call) {
        if (count() < 4) {
            for (int k = 0; k < count(); k++) {
                if (WAY.equals("garbage")) {
                    KEPT[ThreadLocalRandom.current().nextInt(KEPT.length)] = new byte[1 << 18];
                }
                call.accept(k);
            }
            return;
        }
        CompletableFuture<?>[] calls = new CompletableFuture<?>[count()];
        for (int k = 0; k < calls.length; k++) {
            int own = k;
            calls[k] = CompletableFuture.runAsync(() -> call.accept(own), POOL);
        }
        CompletableFuture.allOf(calls).join();
    }

    /** One call by the JDK's old client. */
    static void byConnection(String number, int k) {
        try {
            HttpURLConnection connection = (HttpURLConnection) new URL(address(number, k)).openConnection();
            byte[] bytes = new byte[256];
            while (connection.getInputStream().read(bytes) >= 0) {
                // To its end, so that the connection is kept.
            }
            connection.getInputStream().close();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
