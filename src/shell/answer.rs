//! What HTTP servers answer, within a bound: whoever answers may send without end.

use reqwest::Response;

/// The first `most` bytes of an answer's body, and whether there were more.
///
/// # Errors
/// The answer broke off.
pub async fn read(answer: &mut Response, most: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = vec![];
    while let Some(more) = answer.chunk().await? {
        body.extend_from_slice(&more);
        if body.len() > most {
            body.truncate(most);
            return Ok((body, true));
        }
    }
    Ok((body, false))
}
