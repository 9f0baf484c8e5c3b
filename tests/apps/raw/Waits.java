import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** Asks twice, and waits for each answer as long as it takes. */
class Waits {
    public static void main(String[] arguments) throws Exception {
        for (int n = 0; n < 2; n++) {
            var connection = (HttpURLConnection) URI.create(arguments[0]).toURL().openConnection();
            var answer = connection.getInputStream().readAllBytes();
            System.out.println(new String(answer, StandardCharsets.UTF_8));
        }
    }
}
