package service;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.client.SimpleClientHttpRequestFactory;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestClient;

/** Spring Boot on Tomcat: Tomcat simple|default, which is the client's way to send. */
@SpringBootApplication
@RestController
public class Tomcat {
    private static RestClient client;

    @GetMapping("/r/{number}")
    public String serve(@PathVariable("number") String number) {
        Calls.work(k -> client.get().uri(Calls.address(number, k)).retrieve().body(String.class));
        return "ok\n";
    }

    public static void main(String[] arguments) {
        client = arguments[0].equals("simple")
            ? RestClient.builder().requestFactory(new SimpleClientHttpRequestFactory()).build()
            : RestClient.create();
        SpringApplication application = new SpringApplication(Tomcat.class);
        application.run("--server.address=127.0.0.1", "--server.port=" + Calls.PORT, "--logging.level.root=warn",
            "--spring.threads.virtual.enabled=" + (arguments.length > 1 && arguments[1].equals("virtual")));
    }
}
