//! A real HTTP server on this machine that answers as a test has written down.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Scene {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The same after a moment.
    Late(Duration, Box<Scene>),
    /// No answer, ever.
    Silence,
    /// The connection ends.
    HangUp,
}

/// A chat completion that says `content`.
pub(crate) fn says(content: &str) -> Scene {
    completion(&json!({ "role": "assistant", "content": content }), "stop")
}

pub(crate) fn completion(message: &Value, finish_reason: &str) -> Scene {
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason });
    let body = json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [choice] });
    answer(200, &body.to_string())
}

pub(crate) fn answer(status: u16, body: &str) -> Scene {
    Scene::Answer { status, headers: vec![], body: body.to_owned() }
}

/// An error in the API's form.
pub(crate) fn fails(status: u16, message: &str) -> Scene {
    answer(status, &json!({ "error": { "message": message, "type": "e" } }).to_string())
}

impl Scene {
    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name, value.to_owned()));
                Self::Answer { status, headers, body }
            }
            other => other,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct State {
    scenes: Mutex<VecDeque<Scene>>,
    seen: Mutex<Vec<Seen>>,
    silent: Mutex<Vec<TcpStream>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

/// Answers requests scene by scene, the last one again and again.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<State>,
}

impl Server {
    pub(crate) fn start(scenes: &[Scene]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        lock(&state.scenes).extend(scenes.iter().cloned());
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), Arc::clone(&served));
                std::thread::spawn(move || serve(client, &state));
            }
        });
        Self { url, state }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// Waits for requests whose senders did not wait for an answer.
    pub(crate) async fn until_seen(&self, requests: usize) {
        while lock(&self.state.seen).len() < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Requests that were under way at the same time, at most.
    pub(crate) fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }
}

/// Lets go of who still waits for an answer.
impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.state.silent).clear();
    }
}

fn serve(client: TcpStream, state: &State) {
    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_open.fetch_max(open, Ordering::SeqCst);
    let seen = read(&client);
    lock(&state.seen).push(seen);
    let mut scenes = lock(&state.scenes);
    let scene = if scenes.len() > 1 { scenes.pop_front() } else { scenes.front().cloned() };
    drop(scenes);
    play(client, scene.unwrap(), state);
}

fn play(mut client: TcpStream, scene: Scene, state: &State) {
    match scene {
        Scene::Late(pause, scene) => {
            std::thread::sleep(pause);
            play(client, *scene, state);
        }
        Scene::Silence => lock(&state.silent).push(client),
        Scene::HangUp => {}
        Scene::Answer { status, headers, body } => {
            let mut text = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            text.push_str("connection: close\r\n\r\n");
            // because: before the client knows that this one has ended, or it looks like one more
            state.open.fetch_sub(1, Ordering::SeqCst);
            // a client that has heard enough goes
            drop(client.write_all((text + &body).as_bytes()));
        }
    }
}

fn read(client: &TcpStream) -> Seen {
    let mut reader = BufReader::new(client);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse();
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    Seen { at: Instant::now(), line: lines[0].clone(), headers, body }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
