//! Work for servers, and processes that nobody traces.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// Connections that each send the same bytes again when the answer is complete.
pub(crate) struct Load {
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    /// Bytes of an answer: each one is as long as the first.
    answer: usize,
}

impl Load {
    pub(crate) fn open(port: u16, connections: usize, request: &[u8]) -> Result<Self> {
        let connections = (0..connections)
            .map(|_| {
                let stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.set_nodelay(true)?;
                Ok(stream)
            })
            .collect::<std::io::Result<Vec<_>>>()
            .context("cannot connect")?;
        let mut this = Self { connections, request: request.to_owned(), answer: 0 };
        let first = this.connections.first_mut().context("no connection")?;
        first.write_all(request)?;
        // The first answer is complete when nothing more comes.
        first.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut buffer = [0; 65536];
        loop {
            match first.read(&mut buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => this.answer += length,
                Err(_) if this.answer > 0 => break,
                Err(_) => {}
            }
        }
        first.set_read_timeout(None)?;
        Ok(this)
    }

    /// Sends `rounds` requests in all, over all connections.
    pub(crate) fn run(&mut self, rounds: usize) -> Result<()> {
        let mut left = rounds;
        let mut got = vec![0usize; self.connections.len()];
        let mut busy = 0;
        for stream in self.connections.iter_mut().take(rounds) {
            stream.write_all(&self.request)?;
            left -= 1;
            busy += 1;
        }
        let mut polled: Vec<libc::pollfd> = self
            .connections
            .iter()
            .map(|stream| libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        let mut buffer = [0; 65536];
        while busy > 0 {
            // SAFETY: an array of our own.
            let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 60_000) };
            ensure!(ready > 0, "the server does not answer");
            for ((stream, polled), got) in self.connections.iter_mut().zip(&polled).zip(&mut got) {
                if polled.revents == 0 {
                    continue;
                }
                let length = stream.read(&mut buffer)?;
                ensure!(length > 0, "the server closed the connection");
                *got += length;
                if *got < self.answer {
                    continue;
                }
                ensure!(*got == self.answer, "an answer of another length");
                *got = 0;
                if left > 0 {
                    stream.write_all(&self.request)?;
                    left -= 1;
                } else {
                    busy -= 1;
                }
            }
        }
        Ok(())
    }
}

/// A process that works and that nobody selected.
pub(crate) fn bystander(kind: &str, rounds: usize) -> Result<()> {
    let byte = [7u8];
    let mut buffer = [0u8];
    match kind {
        "tcp" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            client.set_nodelay(true)?;
            let (mut server, _) = listener.accept()?;
            for _ in 0..rounds {
                client.write_all(&byte)?;
                server.read_exact(&mut buffer)?;
            }
        }
        "pipe" => {
            let (mut reader, mut writer) = std::io::pipe()?;
            for _ in 0..rounds {
                writer.write_all(&byte)?;
                reader.read_exact(&mut buffer)?;
            }
        }
        "fork" => {
            for _ in 0..rounds {
                ensure!(Command::new("/bin/true").status()?.success(), "/bin/true failed");
            }
        }
        _ => bail!("no such bystander"),
    }
    Ok(())
}
