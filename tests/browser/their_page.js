window.onload = function () {
  var lastNumber = null, callId = null;

  function text(id, value) { document.getElementById(id).textContent = value; }

  var connector = new Cti.Connector({
    apiEndpoint: "https://l7api.com/v1.2/voipstudio",
    onMessage: function (event) {
      var line = document.createElement("li");
      line.textContent = event.name;
      document.getElementById("history").appendChild(line);

      switch (event.name) {
        case Cti.EVENT.READY:
          text("status", "ready, watching " + connector.getSubscriptionURIs().length);
          break;
        case Cti.EVENT.LOGGED_OUT:
          text("status", "offline");
          break;
        case Cti.EVENT.ERROR:
          text("status", event.message);
          break;
        case Cti.EVENT.RINGING:
          callId = event.call.id;
          if (event.call.direction === Cti.DIRECTION.IN) {
            lastNumber = event.call.source;
            text("caller", event.call.sourceName + " calls from " + event.call.source);
          }
          break;
        case Cti.EVENT.INITIAL:
          callId = event.call.id;
          text("caller", "calling " + event.call.destination);
          break;
        case Cti.EVENT.CONNECTED:
          text("status", event.call.status === Cti.CALL_STATUS.CONNECTED ? "talking" : "?");
          break;
        case Cti.EVENT.HANGUP:
          text("caller", "");
          text("status", event.call.id === callId ? "over" : "another call is over");
          break;
      }
    }
  });

  document.getElementById("login").onsubmit = function (submit) {
    submit.preventDefault();
    connector.login(document.getElementById("email").value, document.getElementById("password").value);
  };
  document.getElementById("pick-up").onclick = function () { connector.answer(callId); };
  document.getElementById("hang-up").onclick = function () { connector.terminate(callId); };
  document.getElementById("ring-back").onclick = function () { connector.call(lastNumber); };
};
