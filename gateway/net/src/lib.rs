//! Listeners and the connection loop: TCP, TLS, WebSocket, secure WebSocket.
