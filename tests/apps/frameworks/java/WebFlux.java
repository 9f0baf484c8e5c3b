package service;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.reactive.function.client.WebClient;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Spring Boot on Netty, with WebClient. */
@SpringBootApplication
@RestController
public class WebFlux {
    private static final WebClient CLIENT = WebClient.create();

    private static Mono<String> call(String number, int k) {
        return CLIENT.get().uri(Calls.address(number, k)).retrieve().bodyToMono(String.class);
    }

    @GetMapping("/r/{number}")
    public Mono<String> serve(@PathVariable("number") String number) {
        Flux<Integer> calls = Flux.range(0, Calls.count());
        Flux<String> answers = Calls.WAY.equals("parallel")
            ? calls.flatMap(k -> call(number, k))
            : calls.concatMap(k -> call(number, k));
        return answers.then(Mono.just("ok\n"));
    }

    public static void main(String[] arguments) {
        new SpringApplication(WebFlux.class)
            .run("--server.address=127.0.0.1", "--server.port=" + Calls.PORT, "--logging.level.root=warn");
    }
}
