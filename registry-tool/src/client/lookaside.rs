//! A web server on which signatures of images lie as files.

use reqwest::{StatusCode, Url};
use tracing::{debug, info};

use super::answer::read_limited;
use super::error::ClientError;
use super::retry::{self, Retry};
use super::settings::Settings;
use super::transport::Transport;

/// A web server with files. It sees no credentials but those in its URL.
pub struct Shelf {
    http: reqwest::Client,
    base: Url,
    host: String,
    retry: Retry,
}

impl Shelf {
    /// The files beneath a URL, whose path ends with a slash.
    ///
    /// # Errors
    /// As for any connection that is not configured rightly.
    pub fn new(base: &Url, settings: &Settings) -> Result<Self, ClientError> {
        let host = match (base.host_str().unwrap_or_default(), base.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let scheme = if base.scheme() == "https" { "https" } else { "http" };
        let http = Transport::new(&host, scheme, true, settings)?.http_client()?;
        Ok(Self { http, base: base.clone(), host, retry: settings.retry })
    }

    /// A file by its path beneath the URL; `None` if there is no such file.
    ///
    /// # Errors
    /// As for any request, and if it has more than `limit` bytes.
    pub async fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, ClientError> {
        let url = self.base.join(path).map_err(|_| ClientError::protocol(&self.host, "not a valid path of a URL"))?;
        let mut attempt = 0;
        loop {
            let (asked, error) = match self.http.get(url.clone()).send().await {
                Ok(response) => {
                    let status = response.status();
                    debug!(host = self.host, path = url.path(), %status);
                    let asked = retry::asked_wait(response.headers());
                    match status {
                        StatusCode::NOT_FOUND => return Ok(None),
                        StatusCode::OK => match read_limited(response, limit, &self.host).await {
                            Ok(file) => return Ok(Some(file)),
                            Err(error) => (None, error),
                        },
                        status => (asked, ClientError::status(&self.host, url.path(), status, None)),
                    }
                }
                Err(error) if error.is_connect() => (None, ClientError::from_connection(&self.host, &error)),
                Err(error) => (None, ClientError::cut(&self.host, &error)),
            };
            let wait = self.retry.wait(attempt, asked).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error.asked_to_wait(asked)) };
            info!(host = self.host, %error, ?wait, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}
