# The demo without PyTorch, in about half a gigabyte:
#   docker build -t dermhub .
#   docker run --rm -p 127.0.0.1:7860:7860 --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges dermhub
# compose.yaml runs two of them behind nginx; deploy/linuxone/Containerfile is the one for s390x.
FROM python:3.11-slim

WORKDIR /opt/dermhub
COPY requirements-demo.txt .
RUN pip install --no-cache-dir -r requirements-demo.txt
# What .dockerignore lets through: the program and the two models.
COPY . .
# Compiled now, as nothing can be written later; and asked, so that no image is built that does not answer.
RUN python -m compileall -q . && \
    python -c "import dermhub; print([dermhub.load(name).predict(dermhub.draw(3)).label for name in dermhub.shipped()])"

# Nothing is fetched and nothing reported. Any user will do; this one has no account and no home.
USER 10001:10001
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 GRADIO_ANALYTICS_ENABLED=False HF_HUB_OFFLINE=1 \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/healthz', timeout=4)"]
CMD ["python", "app.py"]
