//! A small hub on the loopback interface, with faults to order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The commit that every branch is at.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a request came for, and how often that has been asked for before.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) body: String,
    pub(crate) before: usize,
}

impl Request {
    /// Whether it asks for the bytes of a file.
    pub(crate) fn is_file(&self) -> bool {
        self.method == "GET" && self.path.contains("/resolve/")
    }

    /// Whether it asks what the hub has on record of files.
    pub(crate) fn is_listing(&self) -> bool {
        self.path.contains("/paths-info/")
    }
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    None,
    Status(u16),
    Html,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// A bit of this byte of the file is turned over.
    Flip(usize),
    /// So many bytes more than the file has.
    Longer(usize),
    /// The file, and then zeros until the client goes away, or a gigabyte has gone.
    Endless,
    /// Ranges are ignored.
    WholeOnly,
    /// No content-length: the end of the connection is the end.
    NoLength,
    /// Nothing is sent for this long.
    Silent(Duration),
    /// Another size or another hash is on record.
    Record {
        bytes: Option<u64>,
        sha256: Option<String>,
    },
}

type Order = Box<dyn Fn(&Request) -> Fault + Send>;

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    order: Order,
    log: Vec<Request>,
    /// Whether an endless answer has gone to its end.
    endured: bool,
}

/// A hub; its threads end with the process.
pub(crate) struct Server {
    shared: Arc<Mutex<Shared>>,
    address: String,
}

impl Server {
    /// A hub that has these files, by their path in every repository.
    pub(crate) fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let order: Order = Box::new(|_| Fault::None);
        let files = files.into_iter().collect();
        let shared = Arc::new(Mutex::new(Shared { files, order, log: Vec::new(), endured: false }));
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                // A client that goes away is no error of the server's.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { shared, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What is to go wrong from now on; the log begins anew.
    pub(crate) fn order(&self, order: impl Fn(&Request) -> Fault + Send + 'static) {
        let mut shared = self.shared.lock().unwrap();
        shared.order = Box::new(order);
        shared.log.clear();
    }

    /// Whether a client has taken all of an endless answer.
    pub(crate) fn was_endured(&self) -> bool {
        self.shared.lock().unwrap().endured
    }

    /// The requests since the last order.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.shared.lock().unwrap().log.clone()
    }
}

fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut range) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "range" => range = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();

    let (request, fault, files) = {
        let mut shared = shared.lock().unwrap();
        let same = |other: &&Request| other.method == method && other.path == path;
        let before = shared.log.iter().filter(same).count();
        let request = Request { method, path, range, body, before };
        shared.log.push(request.clone());
        (request.clone(), (shared.order)(&request), shared.files.clone())
    };
    match fault {
        Fault::Status(status) => {
            let error = "{\"error\": \"ordered\"}";
            return answer(&mut stream, status, "", error.as_bytes(), None, true);
        }
        Fault::Html => {
            let page = "<!DOCTYPE html><title>Log in</title>";
            return answer(
                &mut stream,
                200,
                "content-type: text/html\r\n",
                page.as_bytes(),
                None,
                true,
            );
        }
        Fault::Silent(time) => thread::sleep(time),
        _ => {}
    }
    let files = &files;
    if request.path.contains("/revision/") {
        let info = format!("{{\"id\": \"a/b\", \"sha\": \"{COMMIT}\"}}");
        return answer(&mut stream, 200, "", info.as_bytes(), None, true);
    }
    if request.is_listing() {
        let asked = files.iter().filter(|(path, _)| request.body.contains(path.as_str()));
        let entries = asked.map(|(path, bytes)| {
            let (mut size, mut sha256) = (bytes.len() as u64, hash(bytes));
            if let Fault::Record { bytes, sha256: other } = &fault {
                size = bytes.unwrap_or(size);
                sha256 = other.clone().unwrap_or(sha256);
            }
            format!(
                "{{\"type\": \"file\", \"oid\": \"0\", \"path\": \"{path}\", \"size\": {size}, \"lfs\": {{\"size\": \
                 {size}, \"sha256\": \"{sha256}\", \"pointerSize\": 1}}}}"
            )
        });
        let list = format!("[{}]", entries.collect::<Vec<_>>().join(","));
        return answer(&mut stream, 200, "", list.as_bytes(), None, true);
    }
    let Some((_, bytes)) = files.iter().find(|(path, _)| request.path.ends_with(path.as_str()))
    else {
        let extra = "x-error-code: EntryNotFound\r\n";
        return answer(&mut stream, 404, extra, b"{\"error\": \"none\"}", None, true);
    };
    let mut body = bytes.clone();
    match fault {
        Fault::Flip(at) => body[at] ^= 0x10,
        Fault::Longer(more) => body.extend(vec![0; more]),
        _ => {}
    }
    let from = request.range.as_ref().filter(|_| fault != Fault::WholeOnly).map(|range| {
        range
            .strip_prefix("bytes=")
            .and_then(|range| range.split('-').next())
            .unwrap()
            .parse()
            .unwrap()
    });
    let (status, from) = from.map_or((200, 0usize), |from| (206, from));
    let extra = format!("etag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\n", hash(bytes));
    if request.method == "HEAD" {
        let length = format!("content-length: {}\r\n", body.len());
        return answer(&mut stream, 200, &(extra + &length), b"", None, false);
    }
    let cut = match fault {
        Fault::Cut(after) => Some(after),
        _ => None,
    };
    let with_length = ![Fault::NoLength, Fault::Endless].contains(&fault);
    answer(&mut stream, status, &extra, &body[from..], cut, with_length)?;
    if fault == Fault::Endless {
        let zeros = vec![0; 1 << 20];
        for _ in 0..1 << 10 {
            stream.write_all(&zeros)?;
        }
        shared.lock().unwrap().endured = true;
    }
    Ok(())
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    extra: &str,
    body: &[u8],
    cut: Option<usize>,
    with_length: bool,
) -> std::io::Result<()> {
    let length =
        if with_length { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("HTTP/1.1 {status} Ordered\r\n{extra}{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])
}

/// The SHA-256, in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
