package service;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.ext.web.Router;
import io.vertx.ext.web.client.WebClient;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Vert.x, one event loop, with its own client. */
final class VertxService {
    private VertxService() {}

    static Future<?> work(WebClient client, String number) {
        if (Calls.WAY.equals("parallel")) {
            return Future.all(IntStream.range(0, Calls.count())
                .mapToObj(k -> client.getAbs(Calls.address(number, k)).send())
                .collect(Collectors.toList()));
        }
        Future<?> all = Future.succeededFuture();
        for (int k = 0; k < Calls.count(); k++) {
            int own = k;
            all = all.compose(before -> client.getAbs(Calls.address(number, own)).send());
        }
        return all;
    }

    public static void main(String[] arguments) {
        Vertx vertx = Vertx.vertx();
        WebClient client = WebClient.create(vertx);
        Router router = Router.router(vertx);
        router.get("/r/:number").handler(context -> work(client, context.pathParam("number"))
            .onSuccess(done -> context.end("ok\n"))
            .onFailure(context::fail));
        vertx.createHttpServer(new HttpServerOptions().setHost("127.0.0.1").setPort(Calls.PORT))
            .requestHandler(router)
            .listen();
    }
}
