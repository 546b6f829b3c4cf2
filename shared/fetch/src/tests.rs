use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::*;

/// What a server says to the path that it is asked for, piece by piece with a pause between.
type Script = fn(&str, SocketAddr) -> (Vec<Vec<u8>>, Duration);

struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(ip: &str, port: u16, script: Script) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || answer(client.unwrap(), address, script));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut client: TcpStream, address: SocketAddr, script: Script) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (pieces, pause) = script(path, address);
    for piece in pieces {
        if client.write_all(&piece).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
}

fn body(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}").into_bytes()
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn site(path: &str, own: SocketAddr) -> (Vec<Vec<u8>>, Duration) {
    let port = own.port();
    let answer = match path {
        "/good" => body("picture"),
        "/to-good" => moved("/good"),
        "/round" => moved("/round"),
        "/to-loopback" => moved(&format!("http://127.0.0.1:{port}/secret")),
        "/to-decimal" => moved(&format!("http://2130706433:{port}/secret")),
        "/to-name" => moved(&format!("http://inside.test:{port}/secret")),
        "/to-again" => moved(&format!("http://shop.test:{port}/secret")),
        "/to-file" => moved("file:///etc/passwd"),
        "/to-login" => moved(&format!("http://a:b@127.0.0.2:{port}/good")),
        "/nowhere" => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/declared" => b"HTTP/1.1 200 OK\r\nContent-Length: 900000000000\r\n\r\nx".to_vec(),
        "/endless" => {
            let chunk = [b"400\r\n".to_vec(), vec![b'x'; 1024], b"\r\n".to_vec()].concat();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            return ([vec![head], vec![chunk; 100_000]].concat(), Duration::ZERO);
        }
        "/unbounded" => {
            let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            return ([vec![head], vec![vec![b'x'; 1024]; 100_000]].concat(), Duration::ZERO);
        }
        "/drops" => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
            return ([vec![head], vec![vec![b'x']; 1000]].concat(), Duration::from_millis(100));
        }
        "/slow-head" => {
            let head = b"HTTP/1.1 200 OK\r\nX-A: ".to_vec();
            return ([vec![head], vec![vec![b'a']; 1000]].concat(), Duration::from_millis(100));
        }
        "/exact" => body(&"x".repeat(1000)),
        "/one-more" => body(&"x".repeat(1001)),
        "/secret" => body("secret"),
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    (vec![answer], Duration::ZERO)
}

/// Answers in turn, the last one for ever.
#[derive(Debug)]
struct Changing {
    answers: Vec<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl Changing {
    fn new(answers: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { answers: answers.to_vec(), asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Lookup for Changing {
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers[asked.len().min(self.answers.len() - 1)];
        asked.push(host.to_owned());
        let ip = |text: &str| SocketAddr::new(text.parse().unwrap(), port);
        Ok(answer.split_whitespace().map(ip).collect())
    }
}

/// 127.0.0.2 stands in for the internet.
fn only_loopback_two(address: IpAddr) -> Option<&'static str> {
    (address != IpAddr::from([127, 0, 0, 2])).then_some("not public")
}

fn small() -> FetchArgs {
    FetchArgs { url_max_bytes: 1000, url_timeout: 2, ..FetchArgs::default() }
}

fn fetcher(lookup: &Arc<Changing>) -> Fetcher {
    Fetcher::with(&small(), lookup.clone(), only_loopback_two)
}

/// A public server and one that must never be asked, on the same port.
fn servers() -> (Server, Server) {
    loop {
        let public = Server::start("127.0.0.2", 0, site);
        let port = public.address.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return (public, Server::start("127.0.0.1", port, site));
        }
    }
}

#[test]
fn addresses_that_are_not_public_are_known_by_every_name() {
    for (address, kind) in [
        ("0.0.0.0", "this host"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "carrier"),
        ("100.127.255.255", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("198.19.0.1", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "this host"),
        ("::1", "loopback"),
        ("::127.0.0.1", "not given out"),
        ("::ffff:127.0.0.1", "IPv4"),
        ("::ffff:8.8.8.8", "IPv4"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b:1::a00:1", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("2001:0:1::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("fc00::1", "unique local"),
        ("fdff::1", "unique local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("fd00:ec2::254", "unique local"),
        ("4000::1", "not given out"),
    ] {
        let found = address::unfit(address.parse().unwrap());
        assert!(found.is_some_and(|found| found.contains(kind)), "{address}: {found:?}");
    }
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860::8888",
    ] {
        assert_eq!(address::unfit(address.parse().unwrap()), None, "{address} was refused");
    }
}

#[tokio::test]
async fn a_host_that_is_a_number_in_any_notation_is_the_address_that_it_stands_for() {
    let fetcher = Fetcher::new(&small());
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "169.254.169.254",
        "0xa9fea9fe",
        "１２７.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "10.0.0.1",
        "100.64.1.1",
    ] {
        let refused = fetcher.get(&format!("http://{host}/x")).await.unwrap_err();
        assert!(matches!(refused, FetchError::Address { .. }), "{host}: {refused:?}");
    }
    // because: the system knows these by itself, without any DNS
    for host in ["localhost", "LOCALHOST"] {
        let refused = fetcher.get(&format!("http://{host}:1/x")).await.unwrap_err();
        assert!(matches!(refused, FetchError::Address { .. }), "{host}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_web_address_is_refused_with_the_reason() {
    let fetcher = Fetcher::new(&small());
    for scheme in ["file:///etc/passwd", "ftp://a.test/x", "gopher://a.test/", "data:image/png,x"] {
        let refused = fetcher.get(scheme).await.unwrap_err();
        assert!(matches!(refused, FetchError::Scheme(_)), "{scheme}: {refused:?}");
    }
    for login in ["http://user@a.test/", "http://user:pass@a.test/", "http://:pass@a.test/"] {
        assert_eq!(fetcher.get(login).await.unwrap_err(), FetchError::Login, "{login}");
    }
    for broken in
        ["", "a.png", "http://", "http://[::1", "http://a.test:99999/", "http://1.2.3.4.5.6/"]
    {
        let refused = fetcher.get(broken).await.unwrap_err();
        assert!(matches!(refused, FetchError::Invalid(_)), "{broken}: {refused:?}");
    }
}

#[tokio::test]
async fn a_picture_comes_as_it_was_sent_also_by_a_redirect() {
    let (public, _) = servers();
    let port = public.address.port();
    let lookup = Changing::new(&["127.0.0.2"]);
    for path in ["good", "to-good"] {
        let got = fetcher(&lookup).get(&format!("http://shop.test:{port}/{path}")).await;
        assert_eq!(got.unwrap(), b"picture");
    }
    let missing = fetcher(&lookup).get(&format!("http://shop.test:{port}/none")).await;
    assert_eq!(missing.unwrap_err(), FetchError::Status(404));
}

#[tokio::test]
async fn a_name_that_stands_for_something_else_a_moment_later_changes_nothing() {
    let (public, inside) = servers();
    let url = format!("http://shop.test:{}/good", public.address.port());
    let lookup = Changing::new(&["127.0.0.2", "127.0.0.1"]);
    assert_eq!(fetcher(&lookup).get(&url).await.unwrap(), b"picture");
    assert_eq!((lookup.asked(), public.asked(), inside.asked()), (1, 1, 0));

    let lookup = Changing::new(&["127.0.0.2", "127.0.0.1"]);
    let again = format!("http://shop.test:{}/to-again", public.address.port());
    let refused = fetcher(&lookup).get(&again).await.unwrap_err();
    assert!(matches!(&refused, FetchError::Address { host, .. } if host == "shop.test"));
    assert_eq!((lookup.asked(), inside.asked()), (2, 0), "{refused}");

    let both = Changing::new(&["127.0.0.2 127.0.0.1"]);
    let refused = fetcher(&both).get(&url).await.unwrap_err();
    assert!(matches!(refused, FetchError::Address { .. }), "{refused}");
    assert_eq!(inside.asked(), 0);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_a_url_could_not() {
    let (public, inside) = servers();
    let port = public.address.port();
    let get = async |path: &str| {
        let lookup = Changing::new(&["127.0.0.2", "127.0.0.1"]);
        fetcher(&lookup).get(&format!("http://shop.test:{port}/{path}")).await.unwrap_err()
    };
    for path in ["to-loopback", "to-decimal", "to-name"] {
        let refused = get(path).await;
        assert!(matches!(refused, FetchError::Address { .. }), "{path}: {refused:?}");
    }
    assert_eq!(get("to-file").await, FetchError::Scheme("file".into()));
    assert_eq!(get("to-login").await, FetchError::Login);
    assert!(matches!(get("nowhere").await, FetchError::Failed(_)));
    assert_eq!(inside.asked(), 0);

    let lookup = Changing::new(&["127.0.0.2"]);
    let before = public.asked();
    let round = fetcher(&lookup).get(&format!("http://shop.test:{port}/round")).await;
    assert_eq!(round.unwrap_err(), FetchError::Redirects(5));
    assert_eq!(public.asked() - before, 6);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let (public, _) = servers();
    let port = public.address.port();
    let lookup = Changing::new(&["127.0.0.2"]);
    let get =
        async |path: &str| fetcher(&lookup).get(&format!("http://shop.test:{port}/{path}")).await;
    assert_eq!(get("exact").await.unwrap().len(), 1000);
    for path in ["one-more", "declared", "endless", "unbounded"] {
        assert_eq!(get(path).await.unwrap_err(), FetchError::TooLarge(1000), "{path}");
    }
}

#[tokio::test]
async fn a_server_that_is_too_slow_is_left() {
    let (public, _) = servers();
    let port = public.address.port();
    let lookup = Changing::new(&["127.0.0.2"]);
    for path in ["drops", "slow-head"] {
        let start = Instant::now();
        let got = fetcher(&lookup).get(&format!("http://shop.test:{port}/{path}")).await;
        assert_eq!(got.unwrap_err(), FetchError::Timeout(2), "{path}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn private_addresses_are_fetched_from_where_that_is_allowed() {
    let (_, inside) = servers();
    let url = format!("http://{}/good", inside.address);
    let refused = Fetcher::new(&small()).get(&url).await.unwrap_err();
    assert!(refused.to_string().contains("--allow-private-urls"), "{refused}");
    assert_eq!(inside.asked(), 0);
    let args = FetchArgs { allow_private_urls: true, ..small() };
    assert_eq!(Fetcher::new(&args).get(&url).await.unwrap(), b"picture");
}

#[test]
fn the_defaults_are_those_of_the_command_line() {
    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        fetch: FetchArgs,
    }
    let parsed = <Parser as clap::Parser>::try_parse_from(["test"]).unwrap().fetch;
    assert_eq!(format!("{parsed:?}"), format!("{:?}", FetchArgs::default()));
}
