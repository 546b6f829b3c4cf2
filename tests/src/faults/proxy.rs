//! A network between workers and NATS that can be slow, cut, or silent.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    /// Everything arrives so much later.
    Slow(Duration),
    /// Nothing arrives, nobody is told, and no new connection is answered.
    Silent,
}

/// Listens on the loopback address and passes everything on.
#[derive(Debug)]
pub(super) struct Proxy {
    url: String,
    weather: watch::Sender<Weather>,
    /// Connections opened before the last cut are closed.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    /// # Errors
    /// No free port.
    pub(super) async fn start(to: &str) -> anyhow::Result<Self> {
        let to = to.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let (weather, sky) = watch::channel(Weather::Fair);
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to.clone(), sky.clone(), cut.clone()));
            }
        });
        Ok(Self { url, weather, cuts })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Closes every connection.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(
    client: TcpStream,
    to: String,
    sky: watch::Receiver<Weather>,
    mut cut: watch::Receiver<u64>,
) {
    let mut arriving = sky.clone();
    let fair = arriving.wait_for(|weather| *weather != Weather::Silent).await;
    drop(fair);
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    cut.mark_unchanged();
    // because: what ends first ends both directions, and dropping both halves closes the connection
    tokio::select! {
        _ = cut.changed() => {}
        () = one_way(from_client, to_server, sky.clone()) => {}
        () = one_way(from_server, to_client, sky) => {}
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut sky: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let weather = *sky.borrow_and_update();
        match weather {
            Weather::Fair => {}
            Weather::Slow(delay) => sleep(delay).await,
            Weather::Silent => drop(sky.wait_for(|weather| *weather != Weather::Silent).await),
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
