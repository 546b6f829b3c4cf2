//! A hub on the loopback: lists, redirects and serves the files of one repository, and fails as told.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest, Sha256};

pub(super) const REPOSITORY: &str = "laion/tiny";
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What happens instead of an answer, once, to the next request whose path contains `path`.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) path: &'static str,
    pub(super) kind: FaultKind,
}

#[derive(Debug, Clone)]
pub(super) enum FaultKind {
    Status(u16, &'static str),
    /// So many bytes of the body, then the end of the connection.
    Cut(usize),
    /// A body of the right length and other bytes.
    Damage,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    commit: String,
    token: Option<String>,
    faults: Vec<Fault>,
    /// `PATH` or `PATH RANGE` of every request.
    requests: Vec<String>,
}

#[derive(Debug)]
pub(super) struct FakeHub {
    pub(super) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub(super) fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(Mutex::new(State { files, commit: COMMIT.to_owned(), ..State::default() }));
        let (served, base) = (Arc::clone(&state), endpoint.clone());
        // The thread ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &served, &base);
            }
        });
        Self { endpoint, state }
    }

    pub(super) fn fail(&self, path: &'static str, kind: FaultKind) {
        self.state.lock().unwrap().faults.push(Fault { path, kind });
    }

    pub(super) fn require_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// The branch moves on: another commit with another file.
    pub(super) fn push(&self, commit: &str, file: &str, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.commit = commit.to_owned();
        state.files.insert(file.to_owned(), bytes.to_owned());
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

#[derive(Debug)]
struct Request {
    path: String,
    range: Option<String>,
    token: Option<String>,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, range: None, token: None };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value.strip_prefix("bytes=").map(ToOwned::to_owned),
            "authorization" => {
                request.token = value.strip_prefix("Bearer ").map(ToOwned::to_owned);
            }
            _ => {}
        }
    }
    Some(request)
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, base: &str) {
    let Some(request) = read_request(&stream) else { return };
    let mut state = state.lock().unwrap();
    let range = request.range.clone().unwrap_or_default();
    state.requests.push(format!("{} {range}", request.path).trim_end().to_owned());
    let fault = state
        .faults
        .iter()
        .position(|fault| request.path.contains(fault.path) && range != "0-0")
        .map(|index| state.faults.remove(index).kind);
    let reply = match &fault {
        Some(FaultKind::Status(status, code)) => plain(*status, code),
        _ if state.token.is_some() && request.token != state.token => plain(401, "GatedRepo"),
        fault => route(&state, &request, base, fault.as_ref()),
    };
    // A client that has seen enough closes its side.
    if let Err(error) = stream.write_all(&reply) {
        assert_ne!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

fn plain(status: u16, code: &str) -> Vec<u8> {
    let retry = if status == 429 { "Retry-After: 0\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status} Told\r\nX-Error-Code: {code}\r\n{retry}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

fn route(state: &State, request: &Request, base: &str, fault: Option<&FaultKind>) -> Vec<u8> {
    let path = request.path.as_str();
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPOSITORY}/revision/")) {
        return listing(state, revision);
    }
    if let Some(rest) = path.strip_prefix(&format!("/{REPOSITORY}/resolve/")) {
        let (revision, file) = rest.split_once('/').unwrap();
        return match state.files.get(file) {
            _ if revision != COMMIT => plain(404, "RevisionNotFound"),
            None => plain(404, "EntryNotFound"),
            // As the hub does with large files.
            Some(bytes) if file.ends_with(".safetensors") => format!(
                "HTTP/1.1 302 Found\r\nLocation: {base}/cdn/{file}\r\nX-Repo-Commit: {COMMIT}\r\n\
                 X-Linked-Etag: \"{}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                sha256(bytes)
            )
            .into_bytes(),
            Some(bytes) => body(bytes, request, fault),
        };
    }
    match path.strip_prefix("/cdn/").and_then(|file| state.files.get(file)) {
        Some(bytes) => body(bytes, request, fault),
        None => plain(404, "RepoNotFound"),
    }
}

fn listing(state: &State, revision: &str) -> Vec<u8> {
    if !["main", "v1", &state.commit].contains(&revision) {
        return plain(404, "RevisionNotFound");
    }
    let siblings: Vec<_> =
        state.files.keys().map(|file| serde_json::json!({ "rfilename": file })).collect();
    let json = serde_json::json!({ "sha": state.commit, "siblings": siblings }).to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}", json.len())
        .into_bytes()
}

fn body(bytes: &[u8], request: &Request, fault: Option<&FaultKind>) -> Vec<u8> {
    let range = request.range.as_deref().unwrap_or("0-");
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(bytes.len() - 1);
    if first >= bytes.len() {
        return plain(416, "");
    }
    let mut part = bytes[first..=last].to_vec();
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}\r\n\
         Content-Length: {}\r\nETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        bytes.len(),
        part.len(),
        &sha256(bytes)[..40],
    );
    match fault {
        Some(FaultKind::Cut(length)) => part.truncate(*length),
        Some(FaultKind::Damage) => part.fill(0),
        _ => {}
    }
    [head.as_bytes(), &part].concat()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
