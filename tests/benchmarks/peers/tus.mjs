// node tus.mjs FOLDER PORT [CERTIFICATE KEY CA]: @tus/server with its file store, as its documentation starts it.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [folder, port, certificate, key, ca] = process.argv.slice(2);
const scheme = certificate ? "https" : "http"; // @tus/server looks for it in a proxy's header only
const generateUrl = (_, { host, path, id }) => `${scheme}://${host}${path}/${id}`;
const tus = new Server({ path: "/files", generateUrl, datastore: new FileStore({ directory: folder }) });
const answer = tus.handle.bind(tus);
const server = certificate
  ? https.createServer(
      {
        cert: fs.readFileSync(certificate),
        key: fs.readFileSync(key),
        ca: fs.readFileSync(ca),
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: "TLSv1.3",
      },
      answer,
    )
  : http.createServer(answer);
server.keepAliveTimeout = 60_000;
server.listen(Number(port), "127.0.0.1");
