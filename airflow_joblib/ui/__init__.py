"""The tab of a fan-out on the page of its task instance: source, built bundle, plugin.

It reads the XCom ``fan_out`` through Airflow's REST API, in the browser and as the user who looks. Nothing runs on the
server but what hands out the bundle. ``src`` is TypeScript, ``dist`` what Vite makes of it: ``make ui``.

May import nothing of the package but its version.
"""
