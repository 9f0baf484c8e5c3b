use super::*;

fn facts(exe: &str, command: &str, directory: &str) -> ProcessFacts {
    ProcessFacts {
        pid: 7,
        exe: exe.to_owned(),
        command_line: command.split(' ').map(str::to_owned).collect(),
        directory: directory.to_owned(),
        ..ProcessFacts::default()
    }
}

fn check(exe: &str, cases: &[(&str, &str, &str)]) {
    for (command, directory, expected) in cases {
        assert_eq!(derived(&facts(exe, command, directory)), *expected, "{command} in {directory}");
    }
}

#[test]
fn python_services_are_called_after_their_script_module_or_application() {
    check(
        "/usr/bin/python3.11",
        &[
            ("python3 checkout.py --debug", "/srv", "checkout"),
            ("python3 /srv/shop/app.py", "/", "shop"),
            ("python3 ./src/main.py", "/srv/shop", "shop"),
            ("python3 -u -m orders.worker", "/", "worker"),
            ("python3 -um orders.worker", "/", "worker"),
            ("python3 -morders", "/", "orders"),
            ("python3 -X dev -W ignore checkout.py", "/", "checkout"),
            ("python3 -m http.server 8000", "/srv/files", "http.server"),
            ("python3 -m shop.__main__", "/", "shop"),
            ("/usr/bin/python3 /usr/bin/gunicorn -w 2 -b 127.0.0.1:80 shop.app:app", "/x", "shop"),
            ("python3 -m gunicorn --workers 2 app:app", "/srv/shop", "shop"),
            ("python3 /venv/bin/gunicorn -b database:5432 shop.wsgi", "/", "shop"),
            ("python3 /venv/bin/gunicorn shop.wsgi -w 4", "/", "shop"),
            ("python3 /venv/bin/gunicorn -c gunicorn.conf.py", "/srv/shop", "shop"),
            ("python3 /venv/bin/gunicorn --chdir /srv/cart app:app", "/", "cart"),
            ("python3 /venv/bin/gunicorn --name billing app:app", "/", "billing"),
            ("python3 /venv/bin/gunicorn shop:create_app()", "/", "shop"),
            ("python3 -m uvicorn billing:api --port 80", "/", "billing"),
            ("python3 /venv/bin/uvicorn app.main:app --host 0.0.0.0 --port 80", "/srv/quotes", "quotes"),
            ("python3 /venv/bin/hypercorn shop.asgi:application", "/", "shop"),
            ("python3 /venv/bin/waitress-serve --listen=*:80 shop:app", "/", "shop"),
            ("python3 manage.py runserver", "/srv/portal", "portal"),
            ("python3 /venv/bin/celery -A tasks worker", "/", "tasks"),
            ("python3 /venv/bin/celery --app=shop.celery worker -l info", "/", "shop"),
            ("python3 /venv/bin/flask run -p 5000", "/srv/shop", "shop"),
            ("python3 -m flask --app shop/app.py run", "/srv", "shop"),
            ("python3 -m flask --app orders run", "/srv", "orders"),
            ("python3 /usr/local/bin/jupyter-lab", "/home/alice", "jupyter-lab"),
            ("python3", "/srv/notebook", "notebook"),
            ("python3 app.py", "/app", "app"),
            ("python3 app.py", "/home/alice", "app"),
            ("python3 -c import,os", "/", "unknown_service:python3.11"),
        ],
    );
}

#[test]
fn titles_that_programs_give_themselves_are_read() {
    let titled = |exe: &str, title: &str| {
        let facts = ProcessFacts { command_line: vec![title.to_owned()], ..facts(exe, "", "/srv/shop") };
        derived(&facts)
    };
    assert_eq!(titled("/usr/bin/python3", "gunicorn: master [cart.app:app]"), "cart");
    assert_eq!(
        titled("/usr/bin/python3", "[celeryd: celery@h:MainProcess] -active- (worker -A cart)"),
        "cart"
    );
    assert_eq!(titled("/usr/bin/ruby3.1", "puma 6.4.0 (tcp://0.0.0.0:3000) [cart]"), "cart");
    assert_eq!(titled("/usr/bin/ruby3.1", "unicorn master -c config/unicorn.rb"), "shop");
    assert_eq!(titled("/usr/bin/node", "npm run start"), "shop");
    assert_eq!(titled("/usr/bin/node", "node /srv/cart/index.js"), "cart");
    assert_eq!(titled("/usr/sbin/php-fpm8.2", "php-fpm: pool www"), "www");
    assert_eq!(titled("/usr/sbin/nginx", "nginx: master process nginx -c x"), "nginx");
}

#[test]
fn node_services_are_called_after_their_script_package_or_folder() {
    check(
        "/usr/bin/node",
        &[
            ("node server.js", "/srv/prices", "prices"),
            ("node dist/main.js", "/srv/prices", "prices"),
            ("node --require x /opt/cart/index.js", "/", "cart"),
            ("/usr/bin/node fetcher.mjs", "/", "fetcher"),
            ("node --inspect --max-old-space-size=4096 fetcher.js", "/", "fetcher"),
            ("node /srv/cart/node_modules/.bin/next start", "/srv/cart", "cart"),
            ("node /usr/bin/nodemon --watch src mailer.ts", "/", "mailer"),
            ("node /srv/cart/node_modules/.bin/tsx src/index.ts", "/srv/cart", "cart"),
        ],
    );
    let mut packaged = facts("/usr/bin/node", "node index.js", "/app");
    assert_eq!(derived(&packaged), "index");
    packaged.package = Some("@acme/quotes".to_owned());
    assert_eq!(derived(&packaged), "quotes");
    packaged.command_line = vec!["node".to_owned(), "/opt/other/index.js".to_owned()];
    assert_eq!(derived(&packaged), "other", "the package is of another folder");
    check("/usr/bin/deno", &[("deno run --allow-net main.ts", "/srv/feed", "feed")]);
    check("/usr/bin/bun", &[("bun feed.ts", "/", "feed"), ("bun run src/index.ts", "/srv/feed", "feed")]);
}

#[test]
fn java_services_are_called_after_their_property_jar_or_class() {
    check(
        "/usr/lib/jvm/bin/java",
        &[
            ("java -Xmx1g -jar /opt/petclinic-3.1.0-SNAPSHOT.jar", "/", "petclinic"),
            ("java -jar /srv/orders/app.jar", "/", "orders"),
            ("java -jar app-0.0.1.jar", "/srv/orders", "orders"),
            ("java -Dspring.application.name=billing -jar app.jar", "/", "billing"),
            ("java -cp a:b -Dx=y com.example.billing.Invoicer arg", "/", "Invoicer"),
            ("java -cp a:b com.example.shop.Application", "/", "shop"),
            ("java -cp x kafka.Kafka server.properties", "/", "Kafka"),
            ("java -cp x org.apache.catalina.startup.Bootstrap start", "/", "tomcat"),
            ("java org.springframework.boot.loader.launch.JarLauncher", "/srv/orders", "orders"),
            ("java --module-path mods -m com.acme.shop/com.acme.shop.Main", "/", "shop"),
        ],
    );
}

#[test]
fn services_of_other_languages_are_called_after_what_they_run() {
    check(
        "/usr/bin/ruby3.1",
        &[
            ("ruby bin/mailer.rb", "/", "mailer"),
            ("ruby bin/rails server -b 0.0.0.0", "/srv/store", "store"),
            ("ruby /usr/local/bin/puma -C config/puma.rb", "/srv/store/current", "store"),
            ("ruby /usr/bin/unicorn -c x.rb", "/var/www/store/releases/20261123", "store"),
        ],
    );
    check(
        "/usr/bin/php8.2",
        &[
            ("php artisan serve --port=80", "/srv/store", "store"),
            ("php -S 127.0.0.1:8000 -t public", "/srv/store", "store"),
            ("php worker.php", "/", "worker"),
        ],
    );
    check("/usr/sbin/php-fpm8.2", &[("php-fpm8.2 --nodaemonize", "/", "unknown_service:php-fpm8.2")]);
    check(
        "/usr/bin/dotnet",
        &[
            ("dotnet Shop.Api.dll", "/app", "Shop.Api"),
            ("dotnet run --project src/Basket/Basket.csproj", "/", "Basket"),
        ],
    );
    check("/usr/lib/erlang/beam.smp", &[("beam.smp -- -sname rabbit@host -noshell", "/", "rabbit")]);
    check("/usr/bin/perl", &[("perl -I lib hello.pl", "/", "hello"), ("perl -lane print", "/srv/x1", "x1")]);
    check(
        "/usr/bin/bash",
        &[("bash /opt/backup.sh", "/", "backup"), ("bash -eu run.sh", "/srv/jobs", "jobs")],
    );
    check("/bin/busybox", &[("httpd -f -p 80", "/", "httpd"), ("sh /opt/probe.sh", "/", "probe")]);
    check("/usr/bin/uwsgi", &[("uwsgi --http :80 --module shop.wsgi", "/", "shop")]);
}

#[test]
fn compiled_services_are_called_after_their_file_or_its_folder() {
    check("/opt/bin/inventory", &[("inventory -v", "/", "inventory")]);
    check("/usr/sbin/nginx", &[("nginx -g daemon", "/", "nginx")]);
    check("/srv/ledger/target/release/server", &[("./server", "/", "ledger")]);
    check("/tmp/go-build1/b001/exe/main", &[("/tmp/go-build1/b001/exe/main", "/home/bob/ledger", "ledger")]);
    check("/app/main", &[("/app/main", "/app", "main")]);
}

#[test]
fn code_on_a_command_line_is_no_name() {
    for (exe, arguments) in [
        ("/bin/sh", vec!["sh", "-c", "curl -H token:s3cret http://x/y"]),
        ("/bin/bash", vec!["bash", "-o", "pipefail", "-lc", "s3cret"]),
        ("/usr/bin/python3", vec!["python3", "-u", "-c", "s3cret"]),
        ("/usr/bin/python3", vec!["python3", "-cs3cret"]),
        ("/usr/bin/node", vec!["node", "--require", "x", "-e", "s3cret"]),
        ("/usr/bin/ruby", vec!["ruby", "-rjson", "-ne", "s3cret"]),
        ("/usr/bin/perl", vec!["perl", "-MJSON", "-e", "s3cret"]),
        ("/usr/bin/php", vec!["php", "-d", "a=b", "-r", "s3cret"]),
        ("/usr/bin/node", vec!["node", "/x/y?token=s3cret"]),
    ] {
        let command_line = arguments.iter().map(|text| (*text).to_owned()).collect();
        let facts = ProcessFacts { command_line, ..facts(exe, "", "/srv/shop") };
        assert_eq!(derived(&facts), "shop", "{arguments:?}");
    }
}

#[test]
fn the_unit_names_a_program_whose_command_tells_nothing() {
    let mut unit = facts("/usr/bin/python3", "python3 app.py", "/");
    unit.unit = Some("orders".to_owned());
    assert_eq!(derived(&unit), "orders");
    let fpm = ProcessFacts {
        command_line: vec!["php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)".to_owned()],
        unit: Some("php8.2-fpm".to_owned()),
        ..facts("/usr/sbin/php-fpm8.2", "", "/")
    };
    assert_eq!(derived(&fpm), "php8.2-fpm");
}

proptest::proptest! {
    #[test]
    fn no_command_line_is_a_panic(
        arguments: Vec<String>,
        options in proptest::collection::vec("-{0,2}[a-zA-Z.:/=]{0,6}", 0..6),
        directory: String,
        exe in proptest::sample::select(vec![
            "/usr/bin/python3", "/usr/bin/node", "/bin/deno", "/bin/java", "/bin/ruby", "/usr/sbin/php-fpm",
            "/bin/dotnet", "/bin/perl", "/bin/beam.smp", "/bin/sh", "/bin/busybox", "/bin/uwsgi", "/x", "",
        ]),
    ) {
        for command_line in [arguments, options] {
            let facts =
                ProcessFacts { exe: exe.to_owned(), command_line, directory: directory.clone(), ..ProcessFacts::default() };
            let name = derived(&facts);
            proptest::prop_assert!(!name.is_empty() && name.chars().count() <= MAX_NAME + 20);
        }
    }
}
